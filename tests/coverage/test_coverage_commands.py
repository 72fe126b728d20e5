"""The commands with which people look at a mail host from outside, as guides print them, against a node with the packaged
policy: telnet's greeting, openssl with and without a server name, swaks with a bare EHLO name."""

from __future__ import annotations

import smtplib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from certificates import Authority
from debian import need
from node_process import NodeProcess

from gateway.cli.main import main


@pytest.fixture(scope="module")
def mx1(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    folder = tmp_path_factory.mktemp("mx1")
    authority = Authority()
    first = authority.write(folder / "tls", "first", "ecdsa", "mx1.example.com")
    other = authority.write(folder / "tls", "other", "ecdsa", "mx.other.example")
    node = NodeProcess(
        folder / "node",
        {
            "hostname": "mx1.example.com",
            "workers": 1,
            "tls": {**first, "certificates": [other]},
            "limits": {"greeting_delay": 0},
        },
    )
    try:
        node.wait_ready()
        yield node
    finally:
        node.end()


def openssl(node: NodeProcess, *words: str) -> str:
    """The subject that it shows; the session goes on after it."""
    done = subprocess.run(
        [need("openssl"), "s_client", "-starttls", "smtp", "-connect", f"127.0.0.1:{node.smtp_port}", "-ign_eof", *words],
        input="EHLO client.example\r\nQUIT\r\n", capture_output=True, text=True, check=True, timeout=60,
    ).stdout  # fmt: skip
    assert "221 2.0.0" in done, done
    names = subprocess.run(
        [need("openssl"), "x509", "-noout", "-ext", "subjectAltName"],
        input=done,
        capture_output=True,
        text=True,
        check=True,
    )
    return names.stdout


def test_the_greeting_that_telnet_shows_is_one_line_with_our_name(mx1: NodeProcess) -> None:
    with smtplib.SMTP(timeout=30) as client:
        code, text = client.connect("127.0.0.1", mx1.smtp_port)
    assert code == 220
    assert text.startswith(b"mx1.example.com ")
    assert b"\n" not in text


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("-servername", "mx1.example.com"), "mx1.example.com"),
        (("-servername", "mx.other.example"), "mx.other.example"),
        (("-noservername",), "mx1.example.com"),
    ],
)
def test_openssl_sees_the_certificate_of_the_name_and_the_first_one_without(
    mx1: NodeProcess, words: tuple[str, ...], name: str
) -> None:
    assert f"DNS:{name}" in openssl(mx1, *words)


@pytest.mark.parametrize("options", [("--ehlo", "test", "--tls"), ()])
def test_swaks_with_a_bare_name_is_told_to_come_again_or_taken(mx1: NodeProcess, options: tuple[str, ...]) -> None:
    done = subprocess.run(
        [
            need("swaks"), "--to", "you@example.com", "--from", "ann@sender.example",
            "--server", f"127.0.0.1:{mx1.smtp_port}", "--timeout", "60", *options,
        ],
        capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    said = "250 2.0.0 Accepted" if done.returncode == 0 else "451 4.7.1 Greylisted"
    assert said in done.stdout, done.stdout


def test_the_bare_name_makes_a_stranger_wait(tmp_path: Path) -> None:
    """Those on our own machine never wait; explain judges like the node."""
    (tmp_path / "zone").write_text("example.org. TXT here\n")
    (tmp_path / "gateway.yaml").write_text(
        "hostname: mx1.example.com\nroutes:\n  - {domains: [example.com], mailstore: smtp://127.0.0.1:9, recipients: accept}\n"
        f"state_dir: {tmp_path}\nstore: memory://\n"
    )
    words = [
        "explain",
        "--ip",
        "192.0.2.7",
        "--helo",
        "test",
        "--from",
        "ann@sender.example",
        "--rcpt",
        "you@example.com",
    ]
    files = ["--zone", str(tmp_path / "zone"), "--config", str(tmp_path / "gateway.yaml")]
    # on a busy machine greylisting may not answer in its 0.3 s, and then nobody waits; each call has a store of its own
    assert any(main([*words, *files, "--exit-verdict"]) == 75 for _ in range(5))


def test_size_and_starttls_stand_in_ehlo_before_tls_and_only_size_after(mx1: NodeProcess) -> None:
    with smtplib.SMTP("127.0.0.1", mx1.smtp_port, "client.example", timeout=30) as client:
        client.ehlo()
        assert client.esmtp_features["size"] == "52428800"
        assert client.has_extn("starttls")
        client.starttls()
        client.ehlo()
        assert client.has_extn("size")
        assert not client.has_extn("starttls")
        assert client.docmd("VRFY", "you")[0] in (252, 502)


def test_each_handshake_is_timed(mx1: NodeProcess) -> None:
    before = mx1.metric("mxgw_tls_handshake_duration_seconds_count", side="in")
    for _ in range(2):
        openssl(mx1)
    mx1.wait(lambda: mx1.metric("mxgw_tls_handshake_duration_seconds_count", side="in") == before + 2, "two handshakes")
