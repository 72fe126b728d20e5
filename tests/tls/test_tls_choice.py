"""openssl s_client against a node with four certificates: key type by the client's algorithms, name by its SNI."""

from __future__ import annotations

import re
import subprocess

import pytest
from certificates import Authority
from debian import need
from node_process import NodeProcess


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def node(authority, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    (folder / "root.pem").write_bytes(authority.certificate)
    first = authority.write(folder, "ec", "ecdsa", "mx.example.com", "mx1.example.com")
    more = [
        authority.write(folder, "rsa", "rsa", "mx.example.com", "mx1.example.com"),
        authority.write(folder, "wild", "ecdsa", "*.example.net"),
        authority.write(folder, "exact", "ecdsa", "mx.example.net"),
    ]
    started = NodeProcess(folder / "node", {"tls": {**first, "certificates": more}})
    try:
        started.wait_ready()
        yield started
    finally:
        started.end()


def s_client(node, *options):
    done = subprocess.run(
        [need("openssl"), "s_client", "-starttls", "smtp", "-connect", f"127.0.0.1:{node.smtp_port}", "-ign_eof", *options],
        input=b"EHLO client.example\r\nquit\r\n", capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    return done.returncode, (done.stdout + done.stderr).decode("ascii", "replace")


def subject(shown: str) -> str:
    found = re.search(r"subject=CN = (\S+)", shown)
    assert found, shown
    return found[1]


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ("mx.example.com", "mx.example.com"),
        ("mx1.example.com", "mx.example.com"),
        ("MX.Example.NET", "mx.example.net"),
        ("other.example.net", "*.example.net"),
        ("a.b.example.net", "mx.example.com"),
        ("elsewhere.example", "mx.example.com"),
    ],
)
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_the_server_name_chooses(node, asked, given, version):
    code, shown = s_client(node, version, "-servername", asked)
    assert code == 0, shown
    assert subject(shown) == given
    assert "221 2.0.0" in shown


def test_without_a_name_the_first_stands(node):
    assert subject(s_client(node, "-noservername")[1]) == "mx.example.com"


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
@pytest.mark.parametrize(
    ("algorithms", "kind"), [("ECDSA+SHA256", "id-ecPublicKey"), ("RSA-PSS+SHA256:RSA+SHA256", "rsaEncryption")]
)
def test_the_client_gets_the_key_type_that_it_can_verify(node, authority, version, algorithms, kind, tmp_path):
    root = tmp_path / "root.pem"
    root.write_bytes(authority.certificate)
    options = ["-servername", "mx.example.com", "-sigalgs", algorithms, version]
    code, shown = s_client(
        node, *options, "-CAfile", str(root), "-verify_return_error", "-verify_hostname", "mx.example.com"
    )
    # the root is signed with RSA: a client that reads ECDSA only takes it as trusted, not by its signature
    assert code == 0, shown
    assert f"a:PKEY: {kind}" in shown


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_client_that_can_both_gets_ecdsa(node, version):
    code, shown = s_client(node, version, "-servername", "mx1.example.com")
    assert code == 0, shown
    assert "a:PKEY: id-ecPublicKey" in shown


@pytest.mark.parametrize(
    ("cipher", "kind"), [("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDSA"), ("ECDHE-RSA-CHACHA20-POLY1305", "RSA")]
)
def test_the_client_s_ciphers_choose_too(node, cipher, kind):
    code, shown = s_client(node, "-tls1_2", "-servername", "mx.example.com", "-cipher", cipher)
    assert code == 0, shown
    assert f"Cipher is {cipher}" in shown
    assert f"Peer signature type: {kind}" in shown.replace("RSA-PSS", "RSA")


def test_no_session_tickets(node):
    for version in ("-tls1_2", "-tls1_3"):
        code, shown = s_client(node, version, "-servername", "mx.example.com")
        assert code == 0, shown
        assert "session ticket" not in shown.lower(), shown


@pytest.mark.parametrize(
    "cipher", ["AES128-SHA", "ECDHE-RSA-AES128-SHA256", "AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-SHA"]
)
def test_only_forward_secret_aead_ciphers(node, cipher):
    code, shown = s_client(node, "-tls1_2", "-cipher", f"{cipher}:@SECLEVEL=0")
    assert code != 0
    assert "alert handshake failure" in shown, shown


def test_each_certificate_s_end_is_a_metric(node):
    for name, kind in (("mx.example.com", "ecdsa"), ("mx.example.com", "rsa"), ("*.example.net", "ecdsa")):
        assert node.metric("mxgw_tls_certificate_not_after_timestamp_seconds", name=name, key=kind) > 1.7e9
