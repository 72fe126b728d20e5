"""What is read along of a handshake, without a socket: any octets, known hellos, the log's line, the settings' effect."""

from __future__ import annotations

import ssl

import pytest
from certificates import Authority, key_pem, new_key
from hypothesis import given
from hypothesis import strategies as st

from gateway.ops.log import as_text
from gateway.smtp.starttls import HandshakeFailed, text_behind_starttls
from gateway.smtp.tls import make_context
from gateway.smtp.tls_pair import pair_from
from gateway.smtp.tls_watch import CAUSES, Facts, watched


def client_hello(name="mx.example.com", versions=(ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version, context.maximum_version = versions
    outgoing = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


HELLO = client_hello()


def test_a_hello_is_read_however_it_is_cut():
    for size in (1, 7, 100, len(HELLO)):
        facts = Facts()
        for at in range(0, len(HELLO), size):
            facts.note(HELLO[at : at + size])
        assert facts.server_name == "mx.example.com"
        assert facts.versions[-1:] == ("TLSv1.2",)
        assert facts.version == "TLSv1.3"
        assert 0x1301 in facts.ciphers
        assert "TLS_AES_256_GCM_SHA384" in facts.for_log()["ciphers"]


def test_a_hello_without_a_name():
    facts = Facts()
    facts.note(client_hello(name=None, versions=(ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2)))
    assert (facts.server_name, facts.versions) == ("", ("TLSv1.2",))


@given(st.lists(st.tuples(st.integers(0, len(HELLO) - 1), st.integers(0, 255)), max_size=8), st.integers(0, len(HELLO)))
def test_no_octets_are_too_strange(changes, keep):
    octets = bytearray(HELLO)
    for at, octet in changes:
        octets[at] = octet
    facts = Facts()
    facts.note(bytes(octets[:keep]))
    assert facts.cause in CAUSES
    assert len(str(facts.for_log())) < 4000


@given(st.binary(max_size=600))
def test_nor_any_others(octets):
    facts = Facts()
    facts.note(octets)
    assert facts.cause in CAUSES


def test_the_line_for_people_says_what_is_known_and_no_more():
    line = as_text({"time": "T", "node": "mx", "level": "info", "event": "tls", "message": "m", **Facts().for_log()})
    assert line == "T mx mxgw info tls: m ciphers_offered=0"
    assert str(text_behind_starttls()) == "plain_text"
    assert str(HandshakeFailed("timeout", "timeout", Facts(), "no octet in 30 s")) == "timeout no octet in 30 s"


@pytest.fixture(scope="module")
def pair():
    key = new_key("ecdsa")
    return pair_from(Authority().leaf(key, "mx.example.com").decode(), key_pem(key).decode(), "mx")


def shaken(server: ssl.SSLContext, version: ssl.TLSVersion) -> ssl.SSLObject:
    """The client's side of a handshake with that context, and one octet read."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(back, there, server_hostname="mx.example.com")
    facts = Facts()
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    facts.early = there.read()
    with watched(server, facts) as own:
        ours = own.wrap_bio(there, back, server_side=True)
    done = 0
    while done < 2:
        done = 0
        for side in (ours, client):
            try:
                side.do_handshake()
                done += 1
            except ssl.SSLWantReadError:
                continue
    ours.write(b"x")
    assert client.read(1) == b"x"
    assert facts.server_name == "mx.example.com"
    return client


VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("tickets", [False, True])
def test_tickets_are_given_only_where_the_settings_say_so(pair, version, tickets):
    session = shaken(make_context([pair], tickets=tickets), version).session
    assert (session is not None and session.has_ticket) is tickets


def test_the_cipher_list_of_the_settings(pair):
    cipher = "ECDHE-ECDSA-CHACHA20-POLY1305"
    assert shaken(make_context([pair], cipher), VERSIONS[0]).cipher()[0] == cipher
    assert shaken(make_context([pair]), VERSIONS[0]).cipher()[0] != cipher
