"""What is said to an SMTP mailstore, and what its replies become."""

from __future__ import annotations

import pytest
from parts import ANN, BOB, CID, outgoing, relay, transaction, utf8
from scripted import Close, Hang, Slow, scripted

from gateway.delivery.wire import Timeouts
from gateway.mail.address import Mailbox
from gateway.mail.finding import Why
from gateway.ports.failure import PortFailure
from gateway.ports.mailstore import Handover, Known

PLAIN = "250 store.test"


@pytest.mark.parametrize("ehlo", [None, PLAIN])
async def test_content_arrives_with_and_without_pipelining(ehlo: str | None) -> None:
    async with scripted({"EHLO": ehlo} if ehlo else {}) as store:
        mailstore = relay(store.port)
        result = await mailstore.deliver(transaction(ANN, BOB), outgoing(), 10)
        assert {r.handover for r in result.results.values()} == {Handover.DELIVERED}
        assert result.results[ANN].text == "queued as 4711"
        assert result.results[ANN].enhanced == "2.0.0"
        assert store.contents == [b"Received: by mx\r\nSubject: x\r\n\r\nhello\r\n"]
        assert [c.split(" ")[0] for c in store.commands] == ["EHLO", "MAIL", "RCPT", "RCPT", "DATA"]
        assert set(result.timings) == {"connect", "envelope", "content"}
        await mailstore.close()


@pytest.mark.parametrize("ehlo", [None, PLAIN])
async def test_one_refused_recipient_does_not_cost_the_others_the_message(ehlo: str | None) -> None:
    script = {"EHLO": ehlo} if ehlo else {}
    async with scripted(script, by_recipient={"bob@example.com": "550 5.1.1 who", "cid@example.com": "452 4.2.2 full"}) as store:
        result = await relay(store.port).deliver(transaction(ANN, BOB, CID), outgoing(), 10)
        assert [r.handover for r in (result.results[m] for m in (ANN, BOB, CID))] == [
            Handover.DELIVERED, Handover.REFUSED, Handover.DEFERRED,
        ]
        assert (result.results[BOB].code, result.results[BOB].enhanced, result.results[BOB].text) == (550, "5.1.1", "who")


async def test_no_data_without_a_recipient_when_not_pipelining() -> None:
    async with scripted({"EHLO": PLAIN, "RCPT": "550 5.1.1 who"}) as store:
        result = await relay(store.port).deliver(transaction(ANN), outgoing(), 10)
        assert result.results[ANN].handover is Handover.REFUSED
        assert "DATA" not in store.commands


async def test_pipelined_data_without_a_recipient_ends_with_an_empty_dot_and_the_session_lives_on() -> None:
    script = {"RCPT": ["550 5.1.1 who", "250 ok"], "dot": ["554 5.5.1 no valid recipients", "250 2.0.0 ok"]}
    async with scripted(script) as store:
        mailstore = relay(store.port)
        first = await mailstore.deliver(transaction(ANN), outgoing(), 10)
        assert first.results[ANN].code == 550
        second = await mailstore.deliver(transaction(ANN), outgoing(), 10)
        assert second.results[ANN].handover is Handover.DELIVERED
        assert len(store.sessions) == 1
        assert store.contents[0] == b""


@pytest.mark.parametrize("where", ["MAIL", "DATA", "dot"])
@pytest.mark.parametrize(("said", "kind"), [("451 4.3.0 later", Handover.DEFERRED), ("552 5.3.4 too big", Handover.REFUSED)])
async def test_negative_reply_is_the_result_of_all(where: str, said: str, kind: Handover) -> None:
    async with scripted({where: said}) as store:
        result = await relay(store.port).deliver(transaction(ANN, BOB), outgoing(), 10)
        assert {(r.handover, r.code) for r in result.results.values()} == {(kind, int(said[:3]))}


async def test_2yz_to_data_is_never_read_as_delivered() -> None:
    async with scripted({"DATA": "250 2.0.0 fine"}) as store:
        result = await relay(store.port).deliver(transaction(ANN), outgoing(), 10)
        assert result.results[ANN].handover is Handover.DEFERRED


@pytest.mark.parametrize("where", ["connect", "EHLO", "MAIL", "RCPT", "DATA"])
@pytest.mark.parametrize("how", [Close(), Hang(), Close("421 4.3.2 going down"), "not a reply", "999 what"])
async def test_failure_before_the_dot_means_nothing_was_taken(where: str, how: object) -> None:
    async with scripted({where: how}) as store:  # type: ignore[dict-item]
        with pytest.raises(PortFailure) as caught:
            await relay(store.port, timeouts=Timeouts(0.4, 0.4, 0.4)).deliver(transaction(ANN), outgoing(), 10)
        assert caught.value.cause.port == "mailstore"
        assert store.contents == []


@pytest.mark.parametrize(("how", "why"), [(Close(), Why.PROTOCOL), (Hang(), Why.TIMEOUT), ("gibberish", Why.PROTOCOL)])
async def test_failure_after_the_dot_is_maybe(how: object, why: Why) -> None:
    async with scripted({"dot": how}) as store:  # type: ignore[dict-item]
        mailstore = relay(store.port, timeouts=Timeouts(1, 1, 0.4))
        result = await mailstore.deliver(transaction(ANN, BOB), outgoing(), 10)
        assert {r.handover for r in result.results.values()} == {Handover.MAYBE}
        assert result.results[ANN].cause is not None
        assert result.results[ANN].cause.why is why
        assert mailstore.idle == 0


async def test_421_after_the_dot_is_a_plain_no() -> None:
    async with scripted({"dot": Close("421 4.3.2 going down")}) as store:
        result = await relay(store.port).deliver(transaction(ANN), outgoing(), 10)
        assert (result.results[ANN].handover, result.results[ANN].code) == (Handover.DEFERRED, 421)


async def test_connection_lost_inside_the_content_takes_nothing() -> None:
    async with scripted({"cut": Close()}, cut_content_after=100_000) as store:
        with pytest.raises(PortFailure):
            await relay(store.port).deliver(transaction(ANN), outgoing(b"A: b\r\n\r\n" + b"x" * 70 * 200_000), 10)
        assert store.contents == []


async def test_budget_ends_a_slow_hand_over() -> None:
    async with scripted({"MAIL": Slow(5, "250 ok")}) as store:
        with pytest.raises(PortFailure) as caught:
            await relay(store.port).deliver(transaction(ANN), outgoing(), 0.3)
        assert caught.value.cause.why is Why.BUDGET


async def test_a_dot_whose_reply_nobody_could_wait_for_is_not_sent() -> None:
    async with scripted({"MAIL": Slow(0.6, "250 ok")}) as store:
        with pytest.raises(PortFailure) as caught:
            await relay(store.port, timeouts=Timeouts(20, 20, 20, dot_least=29.5)).deliver(transaction(ANN), outgoing(), 30)
        assert caught.value.cause.why is Why.BUDGET
        assert store.contents == []


async def test_nobody_listens() -> None:
    async with scripted() as store:
        port = store.port
    with pytest.raises(PortFailure) as caught:
        await relay(port).deliver(transaction(ANN), outgoing(), 5)
    assert caught.value.cause.why is Why.REFUSED


async def test_endless_reply_is_cut() -> None:
    async with scripted({"EHLO": "250-" + "x" * 500_000}) as store:
        with pytest.raises(PortFailure) as caught:
            await relay(store.port).deliver(transaction(ANN), outgoing(), 5)
        assert caught.value.cause.why is Why.PROTOCOL


async def test_8bit_content_is_not_sent_where_8bitmime_is_missing() -> None:
    async with scripted({"EHLO": PLAIN}) as store:
        result = await relay(store.port).deliver(transaction(ANN), outgoing(b"A: b\r\n\r\n\xe4\r\n"), 5)
        assert (result.results[ANN].handover, result.results[ANN].enhanced) == (Handover.REFUSED, "5.6.3")
        assert [c[:4] for c in store.commands] == ["EHLO"]


async def test_parameters_only_where_needed() -> None:
    async with scripted({"EHLO": "250-x\n250-8BITMIME\n250-SMTPUTF8\n250 SIZE"}) as store:
        mailstore = relay(store.port)
        await mailstore.deliver(transaction(ANN), outgoing(b"A: b\r\n\r\nc\r\n", b""), 5)
        await mailstore.deliver(utf8(transaction(ANN)), outgoing(b"A: \xc3\xa4\r\n\r\nc\r\n", b""), 5)
        await mailstore.deliver(transaction(Mailbox("\u00e4", "example.com")), outgoing(b"A: b\r\n\r\nc\r\n", b""), 5)
        mails = [c for c in store.commands if c.startswith("MAIL")]
        assert mails[0].endswith("> SIZE=11")
        assert mails[1].endswith(" BODY=8BITMIME SMTPUTF8")
        assert mails[2].endswith(" SIZE=11 SMTPUTF8")
        assert "RCPT TO:<\u00e4@example.com>" in store.commands


async def test_utf8_address_is_refused_where_smtputf8_is_missing() -> None:
    async with scripted() as store:
        mailbox = Mailbox("\u00e4", "example.com")
        result = await relay(store.port).deliver(transaction(mailbox), outgoing(), 5)
        assert (result.results[mailbox].handover, result.results[mailbox].enhanced) == (Handover.REFUSED, "5.6.7")


@pytest.mark.parametrize(
    ("said", "known"),
    [
        ("250 ok", Known.YES),
        ("550 5.1.1 who", Known.NO),
        ("550 who", Known.NO),
        ("550 5.4.1 Access denied", Known.NO),
        ("552 5.2.2 full", Known.YES),
        ("554 5.7.1 Relay access denied", Known.UNVERIFIABLE),
    ],
)
@pytest.mark.parametrize("ehlo", [None, PLAIN])
async def test_callout(said: str, known: Known, ehlo: str | None) -> None:
    async with scripted({"RCPT": said, **({"EHLO": ehlo} if ehlo else {})}) as store:
        mailstore = relay(store.port)
        assert (await mailstore.recipient(ANN)).known is known
        assert "MAIL FROM:<>" in store.commands
        assert "DATA" not in store.commands
        assert (await mailstore.recipient(ANN)).known is known
        assert len(store.sessions) == 1


async def test_callout_does_not_know_when_the_mailstore_defers() -> None:
    async with scripted({"RCPT": "450 4.2.0 later"}) as store:
        with pytest.raises(PortFailure):
            await relay(store.port).recipient(ANN)
        assert (await relay(store.port, "?verify=no").recipient(ANN)).known is Known.UNVERIFIABLE
