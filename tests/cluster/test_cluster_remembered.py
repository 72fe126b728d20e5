"""A board that has forgotten everything: what operators have said is written back, also where one was quicker."""

from __future__ import annotations

from pathlib import Path

from gateway.adapters.board_memory import MemoryBoard
from gateway.adapters.clock_system import SystemClock
from gateway.cluster import blocks, greylist, orders
from gateway.cluster.blocks import BlockWatch, listed
from gateway.cluster.greylist import GreylistDuty, allow, allowed, seal_of
from gateway.cluster.orders import OrderWatch, drain, undrain
from gateway.ports.blocks import Block


async def forget_all(board: MemoryBoard, place: str) -> None:
    for key in await board.entries(place):
        await board.erase(place, key)


async def blocked(board: MemoryBoard) -> set[str]:
    return {block.what for block in await listed(board)}


async def block(board: MemoryBoard, what: str) -> None:
    await blocks.put(board, Block(what, 0.0), 3600.0)


def watch(board: MemoryBoard, folder: Path, name: str) -> BlockWatch:
    """Of a node of that name, as it starts."""
    found = BlockWatch(board, SystemClock(), lambda _: None, folder / f"{name}.json")
    found.start()
    return found


async def test_a_block_put_on_an_empty_board_does_not_hide_that_the_others_are_lost(tmp_path: Path) -> None:
    board = MemoryBoard(SystemClock())
    mx1, mx2 = watch(board, tmp_path, "mx1"), watch(board, tmp_path, "mx2")
    await block(board, "bad.example")
    for node in (mx1, mx2):
        await node.turn()
    await forget_all(board, blocks.PLACE)
    await block(board, "worse.example")
    await watch(board, tmp_path, "fresh").turn()
    await mx1.turn()
    assert await blocked(board) == {"bad.example", "worse.example"}
    # what is lifted later stays so, although a node comes that was away all the time
    await blocks.take(board, "bad.example")
    await mx2.turn()
    assert await blocked(board) == {"worse.example"}


async def test_nodes_that_know_different_marks_agree(tmp_path: Path) -> None:
    board = MemoryBoard(SystemClock())
    mx1 = watch(board, tmp_path, "mx1")
    await block(board, "bad.example")
    await mx1.turn()
    await forget_all(board, blocks.PLACE)
    await block(board, "worse.example")
    fresh = watch(board, tmp_path, "fresh")
    await fresh.turn()
    nodes, marks = (mx1, fresh, mx1, fresh), []
    for node in nodes:
        await node.turn()
        marks.append((await board.entries(blocks.PLACE))["#"])
    assert len(set(marks)) == 1
    await blocks.take(board, "bad.example")
    for node in nodes:
        await node.turn()
    assert await blocked(board) == {"worse.example"}
    assert "worse.example" in (tmp_path / "fresh.json").read_text()


async def test_an_order_to_drain_outlives_the_board_and_ends_with_undrain_only(tmp_path: Path) -> None:
    board = MemoryBoard(SystemClock())
    heard: list[str] = []
    mx1 = OrderWatch(board, "mx1", heard.append, tmp_path / "order.json")
    await drain(board, "mx1", "new disk", "ann")
    await mx1.turn()
    await forget_all(board, orders.PLACE)
    await mx1.turn()
    assert heard == ["draining by order: new disk"]
    assert set(await orders.orders(board)) == {"mx1"}
    # also one who starts without having seen the loss, and while it is not yet back on the board
    await forget_all(board, orders.PLACE)
    again = OrderWatch(board, "mx1", heard.append, tmp_path / "order.json")
    again.start()
    assert not await undrain(board, "mx1")
    await again.turn()
    assert heard[1:] == ["draining by order: new disk", ""]
    assert not (tmp_path / "order.json").exists()
    assert not await board.entries(orders.PLACE)
    await again.turn()
    await drain(board, "mx1", "again", "ann")
    assert await undrain(board, "mx1")
    assert not await orders.orders(board)
    await again.turn()
    assert heard[3:] == []


async def test_who_never_waits_is_written_back() -> None:
    board = MemoryBoard(SystemClock())
    told: list[list[str]] = []
    duty = GreylistDuty(board, seal_of(b"cluster"), "mx1", told.append, lambda *_: None)
    now = await board.now()
    await allow(board, "192.0.2.0/24", {"reason": "", "by": "ann", "at": now, "until": 0}, None)
    await allow(board, "slow.example", {"reason": "", "by": "ann", "at": now, "until": now + 3600}, 3600.0)
    await duty.turn()
    await forget_all(board, greylist.ALLOWED)
    await allow(board, "new.example", {"reason": "", "by": "ann", "at": now, "until": 0}, None)
    await duty.turn()
    assert set(told[-1]) == set(await allowed(board)) == {"192.0.2.0/24", "slow.example", "new.example"}
    await board.erase(greylist.ALLOWED, "slow.example")
    await duty.turn()
    assert set(await allowed(board)) == {"192.0.2.0/24", "new.example"}
