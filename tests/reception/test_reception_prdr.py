"""PRDR: a reply for each recipient, so recipients of two profiles or routes share a transaction and its content."""

from __future__ import annotations

from typing import Any

import pytest
from test_reception_transaction import LOOPING, MESSAGE, Desk

from gateway.mail.address import Mailbox
from gateway.mail.message import OutgoingMessage
from gateway.mail.transaction import Transaction
from gateway.ports.mailstore import DeliveryResult, Handover, RecipientResult


async def _envelope(desk: Desk, *addresses: str, prdr: bool = True) -> list[str]:
    reception = await desk.greet()
    reply = await reception.mail(Mailbox("a", "sender.example"), size=None, body="7BIT", smtputf8=False, prdr=prdr)
    assert reply.code == 250
    return [await desk.rcpt(address) for address in addresses]


BOTH = ("user@example.com", "user@profile.example.com")


async def test_without_prdr_the_second_profile_comes_again() -> None:
    assert await _envelope(Desk(), *BOTH, prdr=False) == ["250 2.1.5", "452 4.5.3"]


async def test_a_content_that_one_profile_refuses_reaches_the_other() -> None:
    desk = Desk()
    assert await _envelope(desk, *BOTH) == ["250 2.1.5", "250 2.1.5"]
    replies = await desk.reception.content_replies(LOOPING)
    # the lenient profile only observes
    assert [reply.code for reply in replies] == [353, 554, 250, 250]
    assert replies[-1].text.startswith("Accepted for 1 of 2 recipients")
    assert [tx.envelope.recipients for tx in desk.relay.transactions if tx.envelope] == [
        (Mailbox("user", "profile.example.com"),)
    ]
    first, second = desk.watcher.records
    assert (first["qid"], first["profile"], first["result"]) == ("SESSION-1", "default", "rejected")
    assert (second["qid"], second["profile"], second["result"]) == ("SESSION-1.2", "lenient", "accepted")
    assert [rcpt["address"] for rcpt in first["rcpts"]] == ["user@example.com"]
    assert [rcpt["address"] for rcpt in second["rcpts"]] == ["user@profile.example.com"]
    assert "[SESSION-1]" in replies[1].text
    assert "[SESSION-1.2]" in replies[2].text


async def test_two_routes_are_two_hand_overs_and_neither_shows_the_other() -> None:
    desk = Desk()
    assert await _envelope(desk, "user@example.com", "user@other.example.com") == ["250 2.1.5"] * 2
    assert [reply.code for reply in await desk.reception.content_replies(MESSAGE)] == [353, 250, 250, 250]
    assert len(desk.relay.outgoing) == 2
    assert b"other.example.com" not in desk.relay.outgoing[0]
    assert [record["result"] for record in desk.watcher.records] == ["accepted", "accepted"]


async def test_all_refused_is_said_for_the_whole_too() -> None:
    desk = Desk()
    await _envelope(desk, "user@example.com", "other@example.com")
    assert [reply.code for reply in await desk.reception.content_replies(LOOPING)] == [353, 554, 554, 554]


async def test_a_single_recipient_gets_a_single_reply() -> None:
    desk = Desk()
    await _envelope(desk, "user@example.com")
    assert [reply.code for reply in await desk.reception.content_replies(MESSAGE)] == [250]


async def test_a_refused_recipient_has_no_reply_at_the_end() -> None:
    desk = Desk()
    said = await _envelope(desk, "user@example.com", "bad@example.com", "other@example.com")
    assert said == ["250 2.1.5", "451 4.7.1", "250 2.1.5"]
    assert [reply.code for reply in await desk.reception.content_replies(MESSAGE)] == [353, 250, 250, 250]


async def test_an_error_of_ours_in_one_group_takes_nothing_from_the_other(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()
    deliver = desk.relay.deliver

    async def broken_for_one(tx: Transaction, message: OutgoingMessage, budget: float) -> DeliveryResult:
        if tx.id.endswith(".2"):
            return await deliver(tx, message, budget)
        raise RuntimeError("an error of ours")

    desk.relay.deliver = broken_for_one  # type: ignore[method-assign]
    await _envelope(desk, "user@example.com", "user@other.example.com")
    replies = await desk.reception.content_replies(MESSAGE)
    assert [reply.code for reply in replies] == [353, 451, 250, 250]
    told = [(record["qid"], record["result"], record["reason"]) for record in desk.watcher.records]
    assert told == [("SESSION-1", "deferred", "local-error"), ("SESSION-1.2", "accepted", "accepted")]
    # for the budgets that its checks have charged
    assert desk.watcher.records[0]["findings"]["loop"]["outcome"] == "pass"
    assert "SESSION-1: an error of ours" in caplog.text
    desk.reception.close()
    assert len(desk.watcher.records) == 2


class Choosy:
    """A mailstore with a reply for each recipient, as LMTP has."""

    def __init__(self, **codes: int) -> None:
        self.codes = codes

    async def __call__(self, tx: Transaction, message: OutgoingMessage, budget: float) -> DeliveryResult:
        assert tx.envelope
        kinds = {2: Handover.DELIVERED, 4: Handover.DEFERRED, 5: Handover.REFUSED}
        results: dict[Mailbox, Any] = {}
        for mailbox in tx.envelope.recipients:
            code = self.codes[mailbox.local_part]
            results[mailbox] = RecipientResult(kinds[code // 100], code, f"{code // 100}.0.0", "said")
        return DeliveryResult("choosy", results)


async def test_each_recipient_hears_its_mailstores_own_word() -> None:
    desk = Desk()
    desk.relay.deliver = Choosy(full=452, gone=550, here=250)  # type: ignore[method-assign]
    await _envelope(desk, "full@example.com", "gone@example.com", "here@example.com")
    replies = await desk.reception.content_replies(MESSAGE)
    assert [reply.code for reply in replies] == [353, 452, 550, 250, 250]
    assert desk.record["result"] == "partly"


async def test_nobody_has_it_and_some_may_get_it_later() -> None:
    desk = Desk()
    desk.relay.deliver = Choosy(full=452, gone=550)  # type: ignore[method-assign]
    await _envelope(desk, "gone@example.com", "full@example.com")
    # a 5yz for the whole would end the second one's tries as well
    assert [reply.code for reply in await desk.reception.content_replies(MESSAGE)] == [353, 550, 452, 452]


async def test_bare_line_endings_are_made_good_only_where_all_profiles_want_it() -> None:
    desk = Desk()
    await _envelope(desk, *BOTH)
    assert not desk.reception.normalizes
