"""What our client makes of Exchange, Zimbra, Microsoft 365 and Google Workspace, as they speak; and what the sender hears."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme
from parts import ANN, BOB, CID, outgoing, relay, transaction
from standins import (
    Exchange,
    GoogleWorkspace,
    Microsoft365,
    StandIn,
    ZimbraLmtp,
    ZimbraMta,
    running,
)

from gateway.delivery.breaker import FAILURES, Standing
from gateway.delivery.fold import fold
from gateway.delivery.handover import result_of
from gateway.delivery.routes import Route, Router
from gateway.delivery.smtp_client import RelayMailstore
from gateway.delivery.wire import ServerReply
from gateway.mail.address import Mailbox
from gateway.mail.finding import Why
from gateway.mail.reply import Reply
from gateway.ports.failure import PortFailure
from gateway.ports.mailstore import DeliveryResult, Handover, Known

NOBODY = Mailbox("nobody", "example.com")


def client(store: StandIn, options: str = "") -> RelayMailstore:
    return relay(store.port, options, scheme="lmtp" if store.lmtp else "smtp")


async def handed(store: StandIn, *recipients: Mailbox, options: str = "") -> tuple[DeliveryResult, Reply]:
    """The result of one message on a route of its own, and what the sender is told."""
    router = Router([Route(("example.com",), (client(store, options),))])
    result = await router.deliver(transaction(*recipients), outgoing(), 10)
    await router.close()
    return result, fold(result, "T1")


@pytest.fixture
def server_tls(tmp_path: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("store.test").configure_cert(context)
    return context


@pytest.mark.parametrize("kind", [Exchange, ZimbraLmtp, ZimbraMta, Microsoft365, GoogleWorkspace])
async def test_each_takes_a_message_for_two(kind: type[StandIn]) -> None:
    store = kind()
    async with running(store):
        _, reply = await handed(store, ANN, BOB)
    assert reply.code == 250
    (taken,) = store.taken
    assert taken.recipients == ("ann@example.com", "bob@example.com")
    assert taken.content == b"Received: by mx\r\nSubject: x\r\n\r\nhello\r\n"
    assert store.connections == 1


# ---- Exchange


async def test_exchange_takes_every_rcpt_and_its_refusal_after_the_content_is_the_senders_550() -> None:
    store = Exchange()
    async with running(store):
        asked = client(store)
        assert (await asked.recipient(NOBODY)).known is Known.YES  # so verification is worthless here
        await asked.close()
        result, reply = await handed(store, NOBODY)
    assert result.results[NOBODY].handover is Handover.REFUSED
    assert str(reply).startswith(
        "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup"
    )
    assert store.taken == []


async def test_exchange_with_recipient_filter_can_be_asked() -> None:
    store = Exchange(filtered=True)
    async with running(store):
        asked = client(store)
        assert (await asked.recipient(ANN)).known is Known.YES
        assert (await asked.recipient(NOBODY)).known is Known.NO
        await asked.close()


async def test_nothing_goes_by_bdat_though_it_is_offered() -> None:
    store = Exchange()
    async with running(store):
        await handed(store, ANN)
    assert "DATA" in store.commands
    assert not any(line.startswith("BDAT") for line in store.commands)


# ---- Zimbra


async def test_zimbra_lmtp_full_mailbox_defers_the_message_and_says_why() -> None:
    store = ZimbraLmtp(full=frozenset({"bob@example.com"}))
    async with running(store):
        result, reply = await handed(store, ANN, BOB)
    assert [result.results[to].handover for to in (ANN, BOB)] == [Handover.DELIVERED, Handover.DEFERRED]
    assert str(reply).startswith("452 4.2.2 Over quota")


@pytest.mark.parametrize("kind", [ZimbraLmtp, ZimbraMta])
async def test_zimbra_unknown_user_is_known_at_rcpt(kind: type[StandIn]) -> None:
    store = kind()
    async with running(store):
        asked = client(store)
        assert (await asked.recipient(NOBODY)).known is Known.NO
        assert (await asked.recipient(ANN)).known is Known.YES
        await asked.close()
        result, _ = await handed(store, ANN, NOBODY)
    assert result.results[NOBODY].enhanced == "5.1.1"
    assert result.results[ANN].handover is Handover.DELIVERED


# ---- Microsoft 365


@pytest.mark.parametrize("where", ["MAIL", "RCPT", "end"])
async def test_m365_throttling_is_passed_on_as_4yz_and_opens_no_breaker(where: str) -> None:
    store = Microsoft365(throttled=where)
    async with running(store):
        mailstore = client(store)
        router = Router([Route(("example.com",), (mailstore,))])
        for _ in range(FAILURES + 2):
            result = await router.deliver(transaction(ANN, BOB), outgoing(), 10)
            assert {each.handover for each in result.results.values()} == {Handover.DEFERRED}
            reply = fold(result, "T1")
            assert str(reply).startswith("451 4.7.500 Server busy. Please try again later from [192.0.2.9].")
        # it answers, so it is up: the next message is offered to it at once, on the same session
        assert mailstore.standing() is Standing.FREE
        assert store.connections == 1
        store.throttled = ""
        after = fold(await router.deliver(transaction(ANN), outgoing(), 10), "T2")
        await router.close()
    assert after.code == 250
    assert len(store.taken) == 1


async def test_m365_throttling_of_a_callout_is_not_knowing() -> None:
    store = Microsoft365(throttled="RCPT")
    async with running(store):
        mailstore = client(store)
        with pytest.raises(PortFailure, match=r"451 4\.7\.500"):
            await mailstore.recipient(ANN)
        await mailstore.close()


async def test_m365_unknown_recipient_is_541_and_a_connector_that_does_not_know_us_costs_no_message() -> None:
    """550 5.7.51 is about our address, a wrong setting on one of both sides: 451 until it is right."""
    store = Microsoft365(locked=True)
    async with running(store):
        asked = client(store)
        assert (await asked.recipient(NOBODY)).known is Known.NO
        assert (await asked.recipient(ANN)).known is Known.UNVERIFIABLE
        await asked.close()
        result, reply = await handed(store, ANN)
    assert result.results[ANN].handover is Handover.DEFERRED
    assert str(reply).startswith("451 4.3.0 TenantInboundAttribution; There is a partner connector configured")


@pytest.mark.parametrize(
    "demand",
    ["530 5.7.0 Must issue a STARTTLS command first", "451 5.7.3 STARTTLS is required to send mail", "451 4.7.3 TLS"],
)
async def test_a_mailstore_that_wants_tls_never_costs_a_message(demand: str, server_tls: ssl.SSLContext) -> None:
    """With tls=off that is a wrong setting of ours: 4yz until it is right, never 5yz."""
    store = Microsoft365(demands=demand, tls=server_tls)
    async with running(store):
        result, reply = await handed(store, ANN, options="?tls=off")
        assert result.results[ANN].handover is Handover.DEFERRED
        assert reply.code == 451
        assert reply.enhanced.startswith("4.")
        said = result.results[ANN].cause.detail if result.results[ANN].cause else result.results[ANN].text
        assert demand.partition(" ")[2][6:] in said
        _, right = await handed(store, ANN, options="?tls=required")
    assert right.code == 250
    assert [taken.encrypted for taken in store.taken] == [True]


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("550 5.7.606 Access denied, banned sending IP", Handover.DEFERRED),
        ("550 5.7.649 Access denied", Handover.DEFERRED),
        ("550 5.7.605 x", Handover.REFUSED),
        ("550 5.7.1 Message rejected as spam", Handover.REFUSED),
        ("530 5.7.57 Client not authenticated to send mail", Handover.DEFERRED),
    ],
)
def test_a_5yz_about_us_is_deferred_and_one_about_the_message_is_not(said: str, kind: Handover) -> None:
    assert result_of(ServerReply(int(said[:3]), (said[4:],))).handover is kind


# ---- Google Workspace


async def test_google_wants_tls_and_gets_it(server_tls: ssl.SSLContext) -> None:
    store = GoogleWorkspace(tls=server_tls)
    async with running(store):
        result, reply = await handed(store, ANN, options="?tls=off")
        assert reply.code == 451
        assert result.results[ANN].cause
        assert "configuration: MAIL: 530 5.7.0 Must issue a STARTTLS" in result.results[ANN].cause.detail
        _, reply = await handed(store, ANN)
    assert reply.code == 250
    assert store.taken[0].encrypted
    assert store.in_clear[-2:] == ["EHLO mx.test", "STARTTLS"]


@pytest.mark.parametrize("where", ["connect", "MAIL", "end"])
async def test_google_rate_limit_is_451_with_its_words(where: str) -> None:
    store = GoogleWorkspace(rate=where)
    async with running(store):
        result, reply = await handed(store, ANN)
    assert result.results[ANN].handover is Handover.DEFERRED
    # 421 would say that we close our session with the client, which we do not
    assert str(reply).startswith("451 4.7.28 [192.0.2.9] Our system has detected an unusual rate of unsolicited mail")
    assert store.taken == []


async def test_google_rate_limit_in_the_greeting_opens_the_breaker_elsewhere_it_does_not() -> None:
    """The breaker learns from connecting and greeting only."""
    for where, standing in (("connect", Standing.DOWN), ("MAIL", Standing.FREE)):
        store = GoogleWorkspace(rate=where)
        async with running(store):
            mailstore = client(store)
            for _ in range(FAILURES):
                with pytest.raises(PortFailure, match=r"421"):
                    await mailstore.deliver(transaction(ANN), outgoing(), 10)
            assert mailstore.standing() is standing
            await mailstore.close()


async def test_google_full_and_busy_mailboxes_are_deferred_and_unknown_ones_refused() -> None:
    store = GoogleWorkspace(full=frozenset({"bob@example.com"}), busy=frozenset({"cid@example.com"}))
    async with running(store):
        result, reply = await handed(store, ANN, BOB, CID, NOBODY)
        asked = client(store)
        with pytest.raises(PortFailure, match="over quota"):
            await asked.recipient(BOB)
        assert (await asked.recipient(NOBODY)).known is Known.NO
        await asked.close()
    assert [result.results[to].handover for to in (ANN, BOB, CID, NOBODY)] == [
        Handover.DELIVERED, Handover.DEFERRED, Handover.DEFERRED, Handover.REFUSED,
    ]  # fmt: skip
    assert result.results[BOB].text == "The email account that you tried to reach is over quota.  a1b2c3 - gsmtp"
    assert (result.results[NOBODY].code, result.results[NOBODY].enhanced) == (550, "5.1.1")
    assert reply.code == 452


async def test_rate_limited_first_choice_is_followed_by_the_second() -> None:
    limited, spare = GoogleWorkspace(rate="MAIL"), GoogleWorkspace()
    async with running(limited), running(spare):
        router = Router([Route(("example.com",), (client(limited), client(spare)))])
        result = await router.deliver(transaction(ANN), outgoing(), 10)
        assert result.results[ANN].handover is Handover.DELIVERED
        assert len(spare.taken) == 1
        await router.close()


async def test_locked_out_in_the_greeting_is_451_with_the_words_in_the_cause() -> None:
    store = StandIn()
    store.banner = "554 5.7.1 Service unavailable; Client host [192.0.2.9] blocked"
    async with running(store):
        result, reply = await handed(store, ANN)
    cause = result.results[ANN].cause
    assert cause
    assert cause.why is Why.REFUSED
    assert "blocked" in cause.detail
    assert (reply.code, reply.enhanced) == (451, "4.4.1")
