"""STARTTLS as openssl sees it: TLS 1.2 and 1.3, a certificate, a session that goes on."""

from __future__ import annotations

import subprocess

import pytest
from debian import need
from mail_world import poll


def s_client(node, *options, typed="EHLO client.sender.example\r\nNOOP\r\nquit\r\n"):
    return subprocess.run(
        [need("openssl"), "s_client", "-starttls", "smtp", "-connect", f"127.0.0.1:{node.smtp_port}", "-ign_eof", *options],
        input=typed.encode(), capture_output=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize(("option", "version"), [("-tls1_2", b"TLSv1.2"), ("-tls1_3", b"TLSv1.3")])
def test_a_handshake_and_a_session_after_it(node, option, version):
    done = s_client(node, option)
    shown = done.stdout + done.stderr
    assert done.returncode == 0, shown
    assert b"New, " + version in done.stdout or b"Protocol  : " + version in done.stdout, shown
    assert b"BEGIN CERTIFICATE" in done.stdout
    assert b"250-mx.example.com" in done.stdout
    assert b"STARTTLS" not in done.stdout.partition(b"250-mx.example.com")[2]
    assert b"221 2.0.0" in done.stdout


@pytest.mark.parametrize("option", ["-tls1", "-tls1_1"])
def test_old_versions_get_no_session(node, option):
    # security level 0, or openssl itself would refuse and nothing would be proved
    before = len(node.log)
    done = s_client(node, option, "-cipher", "ALL:@SECLEVEL=0")
    assert done.returncode != 0
    assert b"221 2.0.0" not in done.stdout
    failed = poll(lambda: [line for line in node.log[before:] if "TLS handshake failed" in line], "the node says why")[
        0
    ]
    assert "unsupported protocol" in failed.lower().replace("_", " ")
