"""A board that has forgotten everything: what operators have said is written back, also where one was quicker."""

from __future__ import annotations

from pathlib import Path

from gateway.adapters.board_memory import MemoryBoard
from gateway.adapters.clock_system import SystemClock
from gateway.cluster import blocks
from gateway.cluster.blocks import BlockWatch, listed
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
