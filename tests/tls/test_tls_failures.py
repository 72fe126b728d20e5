"""A failed handshake: the client is told by an alert, the operator by a line and a count."""

from __future__ import annotations

import socket
import ssl
import subprocess

import pytest
from debian import need


@pytest.fixture
def node(start_node):
    return start_node()


def s_client(node, *options):
    done = subprocess.run(
        [need("openssl"), "s_client", "-starttls", "smtp", "-connect", f"127.0.0.1:{node.smtp_port}", "-ign_eof", *options],
        input=b"quit\r\n", capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    return done.returncode, (done.stdout + done.stderr).decode("ascii", "replace")


def failure(node):
    return node.wait(lambda: [e for e in node.events("tls") if "cause" in e], "the failure is logged")[0]


def test_a_client_that_is_too_old_gets_an_alert(node):
    code, shown = s_client(node, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0", "-servername", "old.example")
    assert code != 0
    assert "alert protocol version" in shown, shown
    said = failure(node)
    assert (said["cause"], said["alert_sent"], said["alert_received"]) == ("protocol_version", "protocol_version", "")
    assert said["reason"] == "UNSUPPORTED_PROTOCOL"
    assert said["versions"] == ["TLSv1.1"]
    assert said["sni"] == "old.example"
    assert said["client_ip"] == "127.0.0.1"
    assert len(said["session"]) == 12
    assert "ECDHE-RSA-AES256-SHA" in said["ciphers"]
    assert node.metric("mxgw_tls_handshake_failures_total", side="in", cause="protocol_version") == 1
    assert node.metric("mxgw_tls_handshakes_total", version="TLSv1.1", result="handshake_error") == 1


def test_no_cipher_in_common(node):
    code, shown = s_client(node, "-tls1_2", "-cipher", "AES128-SHA:@SECLEVEL=0")
    assert code != 0
    assert "alert handshake failure" in shown, shown
    said = failure(node)
    assert (said["cause"], said["ciphers"]) == ("handshake_failure", ["AES128-SHA"])


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_client_that_does_not_trust_us_says_so(node, version):
    code, _ = s_client(node, version, "-verify_return_error", "-CAfile", "/dev/null")
    assert code != 0
    code, _ = s_client(node, version, "-verify_return_error", "-verify", "1")
    assert code != 0
    said = failure(node)
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


def test_something_that_is_no_tls(node):
    with plain(node) as client:
        client.sendall(b"EHLO again\r\n")
        while client.recv(1000):
            pass
    assert failure(node)["cause"] == "not_tls"


def test_a_client_that_goes_without_a_word(node):
    plain(node).close()
    assert failure(node)["cause"] == "client_left"


def test_any_noise_is_a_cause_and_no_crash(node):
    good = ssl.MemoryBIO()
    hello = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), good, server_hostname="mx.example.com")
    with pytest.raises(ssl.SSLWantReadError):
        hello.do_handshake()
    record = good.read()
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
    node.wait(lambda: len(node.events("tls")) > len(noises) // 2, "the failures are logged")
    assert not [record for record in node.records if "traceback" in record]
