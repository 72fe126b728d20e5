"""The client goes before it hears our answer: what has begun is finished, what is incomplete is dropped."""

from __future__ import annotations

import smtplib

from mail_world import GOOD, message, poll, scripted_mailstore, stuffed

from tests.delivery.scripted import Slow


def until_354(port):
    smtp = smtplib.SMTP(timeout=60, source_address=(GOOD, 0), local_hostname="client.sender.example")
    smtp.connect("127.0.0.1", port)
    smtp.ehlo()
    smtp.mail("ann@sender.example")
    assert smtp.rcpt("user@example.com")[0] == 250
    assert smtp.docmd("DATA")[0] == 354
    return smtp


def test_after_the_dot_while_the_mailstore_takes_the_message(node_before):
    with scripted_mailstore({"dot": Slow(1.5, "250 2.0.0 queued as 4711")}) as mailstore:
        node = node_before(mailstore.port)
        client = until_354(node.smtp_port)
        client.sock.sendall(stuffed(message()))
        poll(lambda: mailstore.contents, "the mailstore has it")
        client.close()
        record = poll(lambda: node.events("transaction"), "a record")[0]
        assert record["result"] == "accepted"
        assert record["ms_reply"].endswith("queued as 4711")
        # the session to the mailstore was not torn: the next message uses it
        again = until_354(node.smtp_port)
        again.sock.sendall(stuffed(message()))
        assert again.getreply()[0] == 250
        again.close()


def test_before_the_dot(node_before):
    with scripted_mailstore() as mailstore:
        node = node_before(mailstore.port)
        client = until_354(node.smtp_port)
        client.sock.sendall(message() + b"a line that ends in\r\n.")
        client.close()
        record = poll(lambda: node.events("transaction"), "a record")[0]
        assert record["result"] == "aborted"
        assert mailstore.contents == []
