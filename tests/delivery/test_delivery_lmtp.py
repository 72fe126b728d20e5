"""LMTP: one reply for each accepted recipient after the dot (RFC 2033)."""

from __future__ import annotations

from pathlib import Path

from parts import ANN, BOB, CID, outgoing, relay, transaction
from scripted import Close, scripted

from gateway.delivery.open import open_mailstore
from gateway.delivery.url import MailstoreUrl
from gateway.ports.mailstore import Handover


async def test_each_recipient_has_its_own_reply() -> None:
    async with scripted(
        by_recipient={"bob@example.com": "550 5.1.1 who"}, dots={"cid@example.com": "452 4.2.2 full"}, lmtp=True
    ) as store:
        result = await relay(store.port, scheme="lmtp").deliver(transaction(ANN, BOB, CID), outgoing(), 5)
        assert [result.results[m].code for m in (ANN, BOB, CID)] == [250, 550, 452]
        assert store.commands[0] == "LHLO mx.test"


async def test_connection_lost_between_the_replies_leaves_only_the_rest_unknown() -> None:
    async with scripted(dots={"bob@example.com": Close()}, lmtp=True) as store:
        result = await relay(store.port, scheme="lmtp").deliver(transaction(ANN, BOB, CID), outgoing(), 5)
        assert [result.results[m].handover for m in (ANN, BOB, CID)] == [
            Handover.DELIVERED, Handover.MAYBE, Handover.MAYBE,
        ]


async def test_unix_socket(tmp_path: Path) -> None:
    async with scripted(lmtp=True, path=str(tmp_path / "s")) as store:
        mailstore = open_mailstore(MailstoreUrl.parse(f"lmtp+unix:{tmp_path}/s"), "mx.test")
        result = await mailstore.deliver(transaction(ANN), outgoing(), 30)
        assert result.results[ANN].handover is Handover.DELIVERED
        assert len(store.contents) == 1
