"""Kept sessions, the client's address by XCLIENT, STARTTLS."""

from __future__ import annotations

import asyncio
import ssl

import pytest
import trustme
from parts import ANN, outgoing, relay, transaction
from scripted import Close, scripted

from gateway.delivery.pool import PoolLimits
from gateway.ports.failure import PortFailure
from gateway.ports.mailstore import Handover, Known

XCLIENT = "250-store.test\n250-PIPELINING\n250 XCLIENT NAME ADDR PORT HELO"


async def test_session_is_used_again_and_ends_with_quit() -> None:
    async with scripted() as store:
        mailstore = relay(store.port)
        for _ in range(3):
            await mailstore.deliver(transaction(ANN), outgoing(), 5)
        assert len(store.sessions) == 1
        await mailstore.close()
        for _ in range(100):
            if store.commands[-1] == "QUIT":
                break
            await asyncio.sleep(0.01)
        assert store.commands[-1] == "QUIT"


async def test_kept_session_that_dies_at_the_first_command_costs_one_more_attempt_only() -> None:
    async with scripted({"MAIL": ["250 ok", Close(), "250 ok"]}) as store:
        mailstore = relay(store.port)
        await mailstore.deliver(transaction(ANN), outgoing(), 5)
        result = await mailstore.deliver(transaction(ANN), outgoing(), 5)
        assert result.results[ANN].handover is Handover.DELIVERED
        assert len(store.sessions) == 2
        assert len(store.contents) == 2


async def test_kept_session_that_says_421_is_replaced() -> None:
    async with scripted({"MAIL": ["250 ok", Close("421 4.4.2 idle too long"), "250 ok"]}) as store:
        mailstore = relay(store.port)
        await mailstore.deliver(transaction(ANN), outgoing(), 5)
        assert (await mailstore.deliver(transaction(ANN), outgoing(), 5)).results[ANN].handover is Handover.DELIVERED


async def test_fresh_session_that_dies_is_not_tried_twice() -> None:
    async with scripted({"MAIL": Close()}) as store:
        with pytest.raises(PortFailure):
            await relay(store.port).deliver(transaction(ANN), outgoing(), 5)
        assert len(store.sessions) == 1


async def test_idle_sessions_end_after_their_time() -> None:
    async with scripted() as store:
        mailstore = relay(store.port, pool=PoolLimits(idle_seconds=0.1))
        await mailstore.deliver(transaction(ANN), outgoing(), 5)
        assert mailstore.idle == 1
        for _ in range(200):
            if not mailstore.idle:
                break
            await asyncio.sleep(0.01)
        assert mailstore.idle == 0


async def test_xclient_tells_each_client_only_listed_attributes_address_last() -> None:
    async with scripted({"EHLO": XCLIENT}) as store:
        mailstore = relay(store.port)
        await mailstore.deliver(transaction(ANN), outgoing(), 5)
        await mailstore.deliver(transaction(ANN), outgoing(), 5)
        await mailstore.deliver(transaction(ANN, client="2001:db8::1", helo="x+y=z \u00e4"), outgoing(), 5)
        told = [c for c in store.commands if c.startswith("XCLIENT")]
        assert told == [
            "XCLIENT NAME=[UNAVAILABLE] HELO=a.test PORT=4711 ADDR=192.0.2.1",
            "XCLIENT NAME=[UNAVAILABLE] HELO=x+2By+3Dz+20+C3+A4 PORT=4711 ADDR=IPV6:2001:db8::1",
        ]
        assert [c[:4] for c in store.commands][:4] == ["EHLO", "XCLI", "EHLO", "MAIL"]


async def test_callout_is_never_made_in_a_clients_name() -> None:
    async with scripted({"EHLO": XCLIENT}) as store:
        mailstore = relay(store.port)
        await mailstore.deliver(transaction(ANN), outgoing(), 5)
        assert (await mailstore.recipient(ANN)).known is Known.YES
        assert len(store.sessions) == 2
        assert not any(c.startswith("XCLIENT") for c in store.sessions[1])


async def test_refused_xclient_is_a_fault_not_a_silent_loss_of_the_address() -> None:
    async with scripted({"EHLO": XCLIENT, "XCLIENT": "550 5.7.0 not you"}) as store:
        with pytest.raises(PortFailure, match="XCLIENT"):
            await relay(store.port).deliver(transaction(ANN), outgoing(), 5)
        result = await relay(store.port, "?xclient=off").deliver(transaction(ANN), outgoing(), 5)
        assert result.results[ANN].handover is Handover.DELIVERED


async def test_required_xclient_that_is_not_offered() -> None:
    async with scripted() as store:
        with pytest.raises(PortFailure, match="XCLIENT"):
            await relay(store.port, "?xclient=require").deliver(transaction(ANN), outgoing(), 5)


def _server_tls(ca: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert(name).configure_cert(context)
    return context


STARTTLS = "250-store.test\n250 STARTTLS"


async def test_starttls_is_used_when_offered_with_any_certificate() -> None:
    async with scripted({"EHLO": STARTTLS}, tls=_server_tls(trustme.CA(), "other.test")) as store:
        result = await relay(store.port).deliver(transaction(ANN), outgoing(), 5)
        assert result.results[ANN].handover is Handover.DELIVERED
        assert store.commands[:3] == ["EHLO mx.test", "STARTTLS", "EHLO mx.test"]


async def test_verify_wants_the_right_name_and_authority(tmp_path: object) -> None:
    ca = trustme.CA()
    path = f"{tmp_path}/ca.pem"
    ca.cert_pem.write_to_path(path)
    async with scripted({"EHLO": STARTTLS}, tls=_server_tls(ca, "store.test")) as store:
        good = relay(store.port, f"?tls=verify&ca={path}&name=store.test")
        assert (await good.deliver(transaction(ANN), outgoing(), 5)).results[ANN].handover is Handover.DELIVERED
        with pytest.raises(PortFailure):
            await relay(store.port, f"?tls=verify&ca={path}&name=evil.test").deliver(transaction(ANN), outgoing(), 5)
        with pytest.raises(PortFailure):
            await relay(store.port, "?tls=verify&name=store.test").deliver(transaction(ANN), outgoing(), 5)


async def test_required_tls_is_never_given_up() -> None:
    async with scripted() as store:
        with pytest.raises(PortFailure, match="STARTTLS"):
            await relay(store.port, "?tls=required").deliver(transaction(ANN), outgoing(), 5)
        assert not any(c.startswith("MAIL") for c in store.commands)


async def test_opportunistic_tls_goes_on_in_clear_after_a_failed_handshake() -> None:
    async with scripted({"EHLO": STARTTLS, "STARTTLS": ["220 go\nbroken", "220 go"]}) as store:
        result = await relay(store.port).deliver(transaction(ANN), outgoing(), 5)
        assert result.results[ANN].handover is Handover.DELIVERED
