"""Refusals before anybody was accepted leave their record too, with the profile that refused."""

from __future__ import annotations

from test_reception_transaction import Desk

from gateway.mail.address import Mailbox


async def test_a_mail_that_announces_too_much_has_its_record() -> None:
    desk = Desk()
    reception = await desk.greet()
    reply = await reception.mail(Mailbox("a", "sender.example"), size=10**9, body="7BIT", smtputf8=False)
    assert f"{reply.code} {reply.enhanced}" == "552 5.3.4"
    assert reception.envelope is None
    assert (desk.record["event"], desk.record["result"], desk.record["reason"]) == (
        "transaction",
        "rejected",
        "too-big",
    )
    assert desk.record["from"] == "a@sender.example"
    assert desk.record["qid"] in desk.record["reply"]
    reception.close()
    assert len(desk.watcher.records) == 1


async def test_a_refused_recipient_gives_the_record_its_profile_where_nobody_was_accepted() -> None:
    desk = Desk()
    reception = await desk.greet()
    await desk.mail()
    assert await desk.rcpt("bad@other.example.com") == "451 4.7.1"
    reception.close()
    assert (desk.record["profile"], desk.record["result"], desk.record["rcpt"]) == ("other", "deferred", [])


async def test_an_accepted_recipient_gives_the_record_its_profile_whoever_was_refused_later() -> None:
    desk = Desk()
    reception = await desk.envelope()
    await desk.rcpt("bad@example.com")
    reception.close()
    assert desk.record["profile"] == "default"
