"""Maildir: bytes exact, safe names, nothing half done."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from parts import ANN, BOB, CID, outgoing, transaction

from gateway.delivery.maildir import THREADS, Attempt, MaildirMailstore, folder_name
from gateway.delivery.url import MailstoreUrl
from gateway.mail.address import Mailbox
from gateway.mail.finding import Why
from gateway.mail.message import Message, OutgoingMessage
from gateway.ports.failure import PortFailure
from gateway.ports.mailstore import Handover, Known, RecipientResult


def _store(root: Path, options: str = "") -> MaildirMailstore:
    return MaildirMailstore(MailstoreUrl.parse(f"maildir:{root}{options}"), "mx.test")


async def test_octets_are_exact_for_each_recipient(tmp_path: Path) -> None:
    result = await _store(tmp_path / "m").deliver(transaction(ANN, BOB), outgoing(b"A: b\r\n\r\n.x\r\n\xff\x00"), 5)
    assert {r.handover for r in result.results.values()} == {Handover.DELIVERED}
    for name in ("ann", "bob"):
        (file,) = (tmp_path / "m/example.com" / name / "new").iterdir()
        assert file.read_bytes() == b"Received: by mx\r\nA: b\r\n\r\n.x\r\n\xff\x00"
        assert not list((tmp_path / "m/example.com" / name / "tmp").iterdir())


@pytest.mark.parametrize("local", ["..", ".", "../x", "a/b", "A", "\u00e4", "a\\b", "%2E", ".a", "a b", ""])
def test_folder_names_stay_in_their_place(local: str) -> None:
    name = folder_name(local)
    assert "/" not in name
    assert not name.startswith(".")
    assert name


async def test_only_existing_folders_where_so_asked(tmp_path: Path) -> None:
    store = _store(tmp_path, "?recipients=existing")
    (tmp_path / "example.com/ann").mkdir(parents=True)
    assert (await store.recipient(ANN)).known is Known.YES
    assert (await store.recipient(BOB)).known is Known.NO
    result = await store.deliver(transaction(ANN, BOB), outgoing(), 5)
    assert [result.results[m].handover for m in (ANN, BOB)] == [Handover.DELIVERED, Handover.REFUSED]
    assert (await _store(tmp_path).recipient(Mailbox("x", "y.test"))).known is Known.UNVERIFIABLE


async def test_failure_with_one_recipient_leaves_nothing_with_the_others(tmp_path: Path) -> None:
    (tmp_path / "example.com").mkdir()
    (tmp_path / "example.com/bob").write_text("not a folder")
    with pytest.raises(PortFailure):
        await _store(tmp_path).deliver(transaction(ANN, BOB), outgoing(), 5)
    assert not [p for p in (tmp_path / "example.com/ann").rglob("*") if p.is_file()]


async def test_no_time_left_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(PortFailure):
        await _store(tmp_path).deliver(transaction(ANN), outgoing(), -1)
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


class Held(OutgoingMessage):
    """Its octets come only when the gate is open, as from a disk that hangs."""

    gate = threading.Event()

    def chunks(self, octets: int = 65536) -> Iterator[bytes]:
        self.gate.wait()
        yield from OutgoingMessage.chunks(self, octets)


@pytest.fixture
def held() -> Iterator[Held]:
    Held.gate.clear()
    yield Held(Message.parse(b"Subject: x\r\n\r\nhello\r\n"))
    Held.gate.set()


def _files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


async def test_a_write_that_ends_after_we_said_no_is_never_filed(tmp_path: Path, held: Held) -> None:
    store = _store(tmp_path)
    with pytest.raises(PortFailure) as caught:
        await store.deliver(transaction(ANN, BOB), held, 0.3)
    assert caught.value.cause.why is Why.BUDGET
    assert [path.parent.name for path in _files(tmp_path)] == ["tmp"]
    held.gate.set()
    async with asyncio.timeout(30):
        while _files(tmp_path):
            await asyncio.sleep(0.01)
    assert not list(tmp_path.glob("*/*/new/*"))


async def test_a_disk_that_hangs_stops_nothing_else_and_nobody_waits_for_it_without_end(tmp_path: Path, held: Held) -> None:
    hanging, well = _store(tmp_path / "a"), _store(tmp_path / "b")
    writes = [asyncio.create_task(hanging.deliver(transaction(ANN), held, 1.0)) for _ in range(2 * THREADS)]
    await asyncio.sleep(0.05)
    assert await asyncio.wait_for(asyncio.to_thread(lambda: 1), 30) == 1
    assert (await well.deliver(transaction(ANN), outgoing(), 30)).results[ANN].handover is Handover.DELIVERED
    ended = await asyncio.gather(*writes, return_exceptions=True)
    assert {each.cause.why for each in ended if isinstance(each, PortFailure)} == {Why.BUDGET, Why.OVERLOAD}
    held.gate.set()  # its threads are free again
    assert (await hanging.deliver(transaction(BOB), outgoing(), 30)).results[BOB].handover is Handover.DELIVERED
    assert not list((tmp_path / "a/example.com/ann/new").iterdir())


def test_what_was_being_moved_when_the_time_ended_is_in_doubt_and_the_rest_comes_again() -> None:
    attempt = Attempt(0.0)
    attempt.ended(ANN, RecipientResult(Handover.DELIVERED, 250))
    attempt.move(BOB)
    told = attempt.late((ANN, BOB, CID))
    assert [told[each].handover for each in (ANN, BOB, CID)] == [Handover.DELIVERED, Handover.MAYBE, Handover.DEFERRED]
    with pytest.raises(PortFailure):
        attempt.move(CID)
