"""Postfix on both sides: a sending MTA hands over with STARTTLS, the mailstore has every octet."""

from __future__ import annotations

import re

from mail_world import arrival, attempt, fields_above, message, poll

from tests.real.postfix import Postfix, original

ODD = (
    b"Received: from somewhere (unknown [192.0.2.1])\r\n\tby elsewhere; Mon, 02 Nov 2026 09:00:00 +0000\r\n"
    b"From:   Ann\t<ann@sender.example> \r\nTO: user@example.com\r\n"
    b"Subject: =?utf-8?q?a?=\r\n \t folded \r\nX-Empty:\r\nX-Latin: caf\xe9\r\nDate: Mon, 02 Nov 2026 10:00:00 +0000\r\n"
    b"Message-ID: <odd@sender.example>\r\n\r\n"
    b".\r\n..\r\n.leading\r\n\r\n\xff\xfe\x80 \x01\x1b\x7f\r\nFrom here\r\n"
    + b"x" * 990
    + b"\r\ntrailing blanks  \t\r\n\r\n\r\n"
)


def test_octets_that_a_careless_relay_would_change_arrive_as_they_were(node, postfix_mailstore):
    heard = attempt(node.smtp_port, ODD)
    assert heard.last[0] == 250, heard.last
    fields = fields_above(original(arrival(postfix_mailstore.messages, ODD)), ODD)
    names = re.findall(rb"^([A-Za-z-]+):", fields, re.MULTILINE)
    assert names == [
        b"Received", b"Authentication-Results", b"Received-SPF", b"X-Gateway-Verdict", b"X-Gateway-Id",
    ]  # fmt: skip
    # the id of our reply, of the field and of Postfix's log line are one and the same transaction
    (shown,) = re.findall(rb"X-Gateway-Id: (\S+)", fields)
    assert f"[{shown.decode()}]" in heard.last[1]
    record = poll(lambda: [r for r in node.events("transaction") if r["qid"] == shown.decode()], "its record")[0]
    assert record["result"] == "accepted"
    assert record["size"] == len(ODD)
    assert "queued as" in record["ms_reply"]


def test_a_sending_postfix_uses_starttls_and_its_message_arrives_unchanged(node, postfix_mailstore):
    octets = message("ann@example.net", b"Hello,\r\n.\r\n.dot\r\n\xc3\xa9\r\n-- \r\nAnn\r\n")
    sender = Postfix(relay_to=("127.0.0.1", node.smtp_port))
    try:
        sender.submit("ann@example.net", ["user@example.com"], octets)
        poll(lambda: "status=sent" in sender.log_text(), "Postfix has sent it\n" + sender.log_text())
        assert sender.queued() == 0
        assert re.search(r"status=sent \(250 2\.0\.0 Accepted \[", sender.log_text())
    finally:
        sender.close()
    delivered = original(arrival(postfix_mailstore.messages, octets))
    ours = delivered.partition(b"\r\nAuthentication-Results:")[0].replace(b"\r\n ", b" ")
    assert re.match(
        rb"Received: from mta\.example\.net \(mta\.example\.net \[127\.0\.0\.1\]\)\s+by mx\.example\.com \(mxgw\) "
        rb"with ESMTPS id \S+\s+\(using TLSv1\.3 with cipher \S+\)\s+for <user@example\.com>;",
        ours,
    ), ours
    header, _, body = delivered.partition(b"\r\n\r\n")
    sent_header, _, sent_body = octets.partition(b"\r\n\r\n")
    assert body == sent_body
    for field in sent_header.split(b"\r\n"):
        assert b"\r\n" + field + b"\r\n" in header + b"\r\n"
    record = poll(
        lambda: [r for r in node.events("transaction") if r["from"] == "ann@example.net"], "the record of that message"
    )[0]
    assert record["tls"].startswith("TLSv1.3/")
    assert record["spf"] == "pass"
    assert record["rdns"] == "mta.example.net"


def test_a_sending_postfix_gets_a_5yz_once_and_does_not_come_again(node):
    sender = Postfix(relay_to=("127.0.0.1", node.smtp_port))
    try:
        sender.submit("ann@example.net", ["nobody@example.com"], message("ann@example.net"))
        poll(lambda: "status=bounced" in sender.log_text(), "Postfix has made a DSN of it")
        assert "550 5.1.1" in sender.log_text()
    finally:
        sender.close()
