"""A failed handshake: the client is told by an alert, the operator by a line and a count."""

from __future__ import annotations

import socket
import ssl
import subprocess

import pytest
from debian import need
from node_process import NodeProcess


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def node(request, tmp_path_factory):
    started = NodeProcess(
        tmp_path_factory.mktemp(request.param) / "node",
        {"limits": {"greeting_delay": 0}},
        policy="version: 1\nchecks: {rate: {enabled: false}}\n",
        env={"MXGW_LOOP": request.param},
    )
    try:
        started.wait_ready()
        yield started
    finally:
        started.end()


@pytest.fixture
def failure(node):
    """Gives the log's line of the handshake that fails in this test."""
    before = len(node.events("tls"))
    return lambda: node.wait(lambda: node.events("tls")[before:], "the failure is logged")[0]


def s_client(node, *options):
    done = subprocess.run(
        [need("openssl"), "s_client", "-starttls", "smtp", "-connect", f"127.0.0.1:{node.smtp_port}", "-ign_eof", *options],
        input=b"quit\r\n", capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    return done.returncode, (done.stdout + done.stderr).decode("ascii", "replace")


def test_a_client_that_is_too_old_gets_an_alert(node, failure):
    code, shown = s_client(node, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0", "-servername", "old.example")
    assert code != 0
    assert "alert protocol version" in shown, shown
    said = failure()
    assert (said["cause"], said["alert_sent"], said["alert_received"]) == ("protocol_version", "protocol_version", "")
    assert said["reason"] == "UNSUPPORTED_PROTOCOL"
    assert said["versions"] == ["TLSv1.1"]
    assert said["sni"] == "old.example"
    assert said["client_ip"] == "127.0.0.1"
    assert len(said["session"]) == 12
    assert "ECDHE-RSA-AES256-SHA" in said["ciphers"]
    assert said["message"] == "TLS handshake failed: protocol_version"
    assert node.metric("mxgw_tls_handshake_failures_total", side="in", cause="protocol_version") == 1
    assert node.metric("mxgw_tls_handshakes_total", version="TLSv1.1", result="handshake_error") == 1


def test_no_cipher_in_common(node, failure):
    code, shown = s_client(node, "-tls1_2", "-cipher", "AES128-SHA:@SECLEVEL=0")
    assert code != 0
    assert "alert handshake failure" in shown, shown
    said = failure()
    assert (said["cause"], said["ciphers"]) == ("handshake_failure", ["AES128-SHA"])


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_client_that_does_not_trust_us_says_so(node, failure, version):
    code, _ = s_client(node, version, "-verify_return_error", "-CAfile", "/dev/null")
    assert code != 0
    code, _ = s_client(node, version, "-verify_return_error", "-verify", "1")
    assert code != 0
    said = failure()
    assert said["cause"] == said["alert_received"] == "unknown_ca"
    assert said["alert_sent"] == ""


def plain(node) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", node.smtp_port), timeout=30)
    heard = client.recv(1000)
    assert heard.startswith(b"220 ")
    client.sendall(b"EHLO client.example\r\n")
    while b"250 " not in client.recv(4096):
        pass
    client.sendall(b"STARTTLS\r\n")
    assert client.recv(1000).startswith(b"220 ")
    return client


def test_commands_in_place_of_tls(node, failure):
    with plain(node) as client:
        client.sendall(b"EHLO again\r\n")
        assert b"".join(iter(lambda: client.recv(1000), b"")).startswith(b"554 5.5.1 ")
    assert failure()["cause"] == "plain_text"


def test_something_that_is_no_tls(node, failure):
    with plain(node) as client:
        client.sendall(b"\xff" * 20)
        while client.recv(1000):
            pass
    assert failure()["cause"] == "not_tls"


def test_a_client_that_goes_without_a_word(node, failure):
    plain(node).close()
    assert failure()["cause"] == "client_left"


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_handshake_that_succeeds_is_none_of_them(node, version):
    before = node.metric("mxgw_tls_handshakes_total", result="ok")
    code, shown = s_client(node, version, "-servername", "mx.example.com")
    assert code == 0, shown
    assert "221 2.0.0" in shown
    assert node.metric("mxgw_tls_handshakes_total", result="ok") == before + 1


def test_a_client_that_leaves_right_after_the_handshake_is_no_news(node):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    before = node.metric("mxgw_tls_handshakes_total", result="ok")
    for _ in range(20):
        with plain(node) as client:
            context.wrap_socket(client, suppress_ragged_eofs=True).close()
    node.wait(lambda: node.metric("mxgw_tls_handshakes_total", result="ok") == before + 20, "all are counted")
    assert node.events("log") == []


def test_any_noise_is_a_cause_and_no_crash(node):
    good = ssl.MemoryBIO()
    hello = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), good, server_hostname="mx.example.com")
    with pytest.raises(ssl.SSLWantReadError):
        hello.do_handshake()
    record = good.read()
    before = len(node.events("tls"))
    noises = [record[:at] + bytes([record[at] ^ 0xFF]) + record[at + 1 :] for at in range(3, len(record), 37)]
    for noise in noises:
        with plain(node) as client:
            client.sendall(noise)
            client.shutdown(socket.SHUT_WR)
            try:
                while client.recv(4096):
                    pass
            except ConnectionResetError:
                continue
    node.wait(lambda: len(node.events("tls")) > before + len(noises) // 2, "the failures are logged")
    assert not [record for record in node.records if "traceback" in record]
