"""Real clients use what EHLO offers: Exim its BDAT and PRDR, swaks PRDR; DSN parameters reach Postfix, which acts on
them."""

from __future__ import annotations

import smtplib
import subprocess

from debian import need
from mail_world import GOOD, arrival, attempt, message, poll, stuffed

from tests.real.exim import submit
from tests.real.postfix import original


def test_exim_hands_over_by_bdat(node, dovecot):
    octets = message("ann@example.net", b".\r\n.dot\r\n\xc3\xa9\r\nno dot is stuffed in a chunk\r\n")
    said = submit(node.smtp_port, "ann@example.net", ["user@example.org", "other@example.org"], octets)
    assert "BDAT" in said, said
    assert "SMTP>> DATA" not in said
    delivered = original(arrival(lambda: dovecot.messages("user@example.org"), octets))
    assert delivered.endswith(octets.partition(b"\r\n\r\n")[2])


def test_exim_hears_one_reply_for_each_recipient(node, dovecot, postfix_mailstore):
    """Two mailstores in one transaction: without PRDR the second one is asked to come again."""
    octets = message("ann@example.net", b"to two stores\r\n")
    said = submit(node.smtp_port, "ann@example.net", ["user@example.org", "user@example.com"], octets)
    assert "PRDR" in said, said
    assert "SMTP<< 353" in said
    assert "SMTP<< 452" not in said
    arrival(lambda: dovecot.messages("user@example.org"), octets)
    arrival(postfix_mailstore.messages, octets)


def test_swaks_with_prdr(node, dovecot, postfix_mailstore, tmp_path):
    content = tmp_path / "content"
    octets = message()
    content.write_bytes(stuffed(octets))
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
    arrival(lambda: dovecot.messages("user@example.org"), octets)
    arrival(postfix_mailstore.messages, octets)


def test_postfix_sends_the_success_notification_that_the_client_asked_for(node, postfix_mailstore):
    octets = message()
    with smtplib.SMTP(timeout=60, source_address=(GOOD, 0), local_hostname="client.sender.example") as smtp:
        smtp.connect("127.0.0.1", node.smtp_port)
        smtp.ehlo()
        assert smtp.mail("ann@sender.example", ["RET=HDRS", "ENVID=QQ314159"])[0] == 250
        assert smtp.rcpt("user@example.com", ["NOTIFY=SUCCESS", "ORCPT=rfc822;list@old.example"])[0] == 250
        assert smtp.docmd("DATA")[0] == 354
        smtp.sock.sendall(stuffed(octets))
        assert smtp.getreply()[0] == 250
    arrival(postfix_mailstore.messages, octets)
    poll(
        lambda: "sender delivery status notification" in postfix_mailstore.log_text(),
        "Postfix tells the sender\n" + postfix_mailstore.log_text(),
    )


def test_without_that_wish_nobody_is_told(node, postfix_mailstore):
    before = postfix_mailstore.log_text().count("sender delivery status notification")
    octets = message()
    assert attempt(node.smtp_port, octets).last[0] == 250
    arrival(postfix_mailstore.messages, octets)
    assert postfix_mailstore.log_text().count("sender delivery status notification") == before
