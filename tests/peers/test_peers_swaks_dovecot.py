"""swaks in front, Dovecot's LMTP behind: plain, TLS, pipelined, several recipients, and one that is not there."""

from __future__ import annotations

import subprocess

import pytest
from debian import need
from mail_world import GOOD, arrival, attempt, fields_above, message

from tests.real.postfix import original


def swaks(node, path, *options, to="user@example.org"):
    """Its exit code and the dialog."""
    done = subprocess.run(
        [
            need("swaks"), "--server", f"127.0.0.1:{node.smtp_port}", "--local-interface", GOOD,
            "--helo", "client.sender.example", "--from", "ann@sender.example", "--to", to,
            "--data", f"@{path}", "--no-data-fixup", "--timeout", "60", *options,
        ],
        capture_output=True, text=True, check=False, errors="replace", timeout=100,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def file_of(tmp_path, octets):
    path = tmp_path / "content"
    path.write_bytes((b"\r\n" + octets).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n")
    return path


@pytest.mark.parametrize("options", [(), ("--tls",), ("--pipeline",), ("--tls", "--pipeline")], ids="-".join)
def test_a_message_arrives_octet_by_octet(node, dovecot, tmp_path, options):
    octets = message("ann@sender.example", b"one\r\n.\r\n.two\r\n\xe9\xff\r\n\r\n", "user@example.org")
    code, dialog = swaks(node, file_of(tmp_path, octets), *options, to="user@example.org,other@example.org")
    assert code == 0, dialog
    for user in ("user@example.org", "other@example.org"):
        fields = fields_above(original(arrival(lambda user=user: dovecot.messages(user), octets)), octets)
        # with two recipients neither may learn of the other
        assert b"example.org" not in fields
        assert (b"with ESMTPS" in fields) == ("--tls" in options)


def test_an_unknown_user_is_refused_at_rcpt_and_the_other_one_gets_it(node, dovecot):
    octets = message()
    heard = attempt(node.smtp_port, octets, to=("user@example.org", "nobody@example.org"))
    assert heard.rcpt[0][0] == 250
    assert heard.rcpt[1][0] == 550
    assert heard.rcpt[1][1].startswith("5.1.1 ")
    assert heard.end[0] == 250
    arrival(lambda: dovecot.messages("user@example.org"), octets)


def test_swaks_hears_of_an_unknown_user_too(node, tmp_path):
    code, dialog = swaks(node, file_of(tmp_path, message()), to="nobody@example.org")
    assert code == 24, dialog  # all recipients refused
    assert "550 5.1.1" in dialog


def test_two_domains_of_two_mailstores_need_two_transactions(node):
    heard = attempt(node.smtp_port, message(), to=("user@example.org", "user@example.com"))
    assert [code for code, _ in heard.rcpt] == [250, 452]
    assert heard.end[0] == 250
