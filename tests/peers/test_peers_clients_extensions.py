"""Real clients use what EHLO offers: Exim its BDAT and PRDR, swaks PRDR; DSN parameters reach Postfix, which acts on
them."""

from __future__ import annotations

import smtplib
import subprocess

from debian import need
from mail_world import GOOD, attempt, message, poll, stuffed

from tests.real.exim import submit
from tests.real.postfix import original


def test_exim_hands_over_by_bdat(node, dovecot):
    before = len(dovecot.messages("user@example.org"))
    octets = message("ann@example.net", b".\r\n.dot\r\n\xc3\xa9\r\nno dot is stuffed in a chunk\r\n")
    said = submit(node.smtp_port, "ann@example.net", ["user@example.org", "other@example.org"], octets)
    assert "BDAT" in said, said
    assert "SMTP>> DATA" not in said
    delivered = original(poll(lambda: dovecot.messages("user@example.org")[before:], "Dovecot has it")[0])
    assert delivered.endswith(octets.partition(b"\r\n\r\n")[2])


def test_exim_hears_one_reply_for_each_recipient(node, dovecot, postfix_mailstore):
    """Two mailstores in one transaction: without PRDR the second one is asked to come again."""
    before = len(dovecot.messages("user@example.org")), len(postfix_mailstore.messages())
    octets = message("ann@example.net", b"to two stores\r\n")
    said = submit(node.smtp_port, "ann@example.net", ["user@example.org", "user@example.com"], octets)
    assert "PRDR" in said, said
    assert "SMTP<< 353" in said
    assert "SMTP<< 452" not in said
    poll(lambda: dovecot.messages("user@example.org")[before[0] :], "Dovecot has it")
    poll(lambda: postfix_mailstore.messages()[before[1] :], "Postfix has it")


def test_swaks_with_prdr(node, dovecot, postfix_mailstore, tmp_path):
    before = len(dovecot.messages("user@example.org")), len(postfix_mailstore.messages())
    content = tmp_path / "content"
    content.write_bytes(stuffed(message()))
    done = subprocess.run(
        [
            need("swaks"), "--server", f"127.0.0.1:{node.smtp_port}", "--local-interface", GOOD, "--prdr",
            "--helo", "client.sender.example", "--from", "ann@sender.example",
            "--to", "user@example.org,user@example.com", "--data", f"@{content}", "--no-data-fixup",
        ],
        capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "<-  353" in done.stdout
    # what is still under way would come between another test's messages
    poll(lambda: dovecot.messages("user@example.org")[before[0] :], "Dovecot has it")
    poll(lambda: postfix_mailstore.messages()[before[1] :], "Postfix has it")


def test_postfix_sends_the_success_notification_that_the_client_asked_for(node, postfix_mailstore):
    before = len(postfix_mailstore.messages())
    with smtplib.SMTP(timeout=60, source_address=(GOOD, 0), local_hostname="client.sender.example") as smtp:
        smtp.connect("127.0.0.1", node.smtp_port)
        smtp.ehlo()
        assert smtp.mail("ann@sender.example", ["RET=HDRS", "ENVID=QQ314159"])[0] == 250
        assert smtp.rcpt("user@example.com", ["NOTIFY=SUCCESS", "ORCPT=rfc822;list@old.example"])[0] == 250
        assert smtp.docmd("DATA")[0] == 354
        smtp.sock.sendall(stuffed(message()))
        assert smtp.getreply()[0] == 250
    poll(lambda: postfix_mailstore.messages()[before:], "Postfix has it")
    poll(
        lambda: "sender delivery status notification" in postfix_mailstore.log_text(),
        "Postfix tells the sender\n" + postfix_mailstore.log_text(),
    )


def test_without_that_wish_nobody_is_told(node, postfix_mailstore):
    before = postfix_mailstore.log_text().count("sender delivery status notification")
    messages = len(postfix_mailstore.messages())
    assert attempt(node.smtp_port, message()).last[0] == 250
    poll(lambda: postfix_mailstore.messages()[messages:], "Postfix has it")
    assert postfix_mailstore.log_text().count("sender delivery status notification") == before
