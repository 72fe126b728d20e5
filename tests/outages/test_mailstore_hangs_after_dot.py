"""The mailstore has the message and says nothing: 451 within our budget, and the record says that it may be there."""

from __future__ import annotations

import time

from mail_world import attempt, message, poll, scripted_mailstore

from tests.delivery.scripted import Close, Hang

BUDGET = {"answer_budget": 3.0}


def test_silence(node_before):
    with scripted_mailstore({"dot": Hang()}) as mailstore:
        node = node_before(mailstore.port, limits=BUDGET)
        begun = time.monotonic()
        code, text = attempt(node.smtp_port, message()).end
        assert (code, text[:6]) == (451, "4.4.2 ")
        assert 1 < time.monotonic() - begun < 30
        record = poll(lambda: node.events("transaction"), "a record")[0]
        assert record["result"] == "deferred"
        assert record["maybe_delivered"] is True


def test_a_connection_that_breaks(node_before):
    with scripted_mailstore({"dot": [Close(), "250 2.0.0 queued"]}) as mailstore:
        node, octets = node_before(mailstore.port), message()
        code, text = attempt(node.smtp_port, octets).end
        assert (code, text[:6]) == (451, "4.4.2 ")
        # the next attempt is lossless
        assert attempt(node.smtp_port, octets).end[0] == 250
        assert len(mailstore.contents) == 2
