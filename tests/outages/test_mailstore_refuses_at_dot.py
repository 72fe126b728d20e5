"""The mailstore says no to the content: its code and words reach the client, cleaned and with our id."""

from __future__ import annotations

import pytest
from mail_world import attempt, fields_above, message, poll, scripted_mailstore


@pytest.mark.parametrize(
    ("said", "heard_code", "heard_text", "result"),
    [
        ("554 5.7.1 No viruses here", 554, "5.7.1 No viruses here [", "rejected"),
        ("552-5.2.2 Mailbox full\n552 5.2.2 really", 552, "5.2.2 Mailbox full", "rejected"),
        ("452 4.2.2 Over quota", 452, "4.2.2 Over quota [", "deferred"),
        ("421 4.3.2 Going down", 451, "4.3.2 Going down [", "deferred"),
        ("550 no status of its own", 550, "5.0.0 no status of its own [", "rejected"),
        ("999 nonsense", 451, "4.", "deferred"),
    ],
    ids=["5yz", "two-lines", "4yz", "421", "bare", "nonsense"],
)
def test_its_words_are_passed_on(node_before, said, heard_code, heard_text, result):
    with scripted_mailstore({"dot": said}) as mailstore:
        node = node_before(mailstore.port)
        octets = message(body=b".\r\n..\r\n\xff\r\n" + b"x" * 5000 + b"\r\n")
        code, text = attempt(node.smtp_port, octets).end
        assert (code, text[: len(heard_text)]) == (heard_code, heard_text)
        fields_above(mailstore.contents[0], octets)
    record = poll(lambda: node.events("transaction"), "a record")[0]
    assert record["result"] == result
