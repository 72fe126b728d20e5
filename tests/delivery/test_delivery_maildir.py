"""Maildir: bytes exact, safe names, nothing half done."""

from __future__ import annotations

from pathlib import Path

import pytest
from parts import ANN, BOB, outgoing, transaction

from gateway.delivery.maildir import MaildirMailstore, folder_name
from gateway.delivery.url import MailstoreUrl
from gateway.mail.address import Mailbox
from gateway.ports.failure import PortFailure
from gateway.ports.mailstore import Handover, Known


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
