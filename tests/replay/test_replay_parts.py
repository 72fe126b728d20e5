"""The parts: a journal file that never grows, a loop whose time jumps, decisions on the board within their bounds."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from replay_world import Facts, World

from gateway.adapters.board_memory import MemoryBoard
from gateway.adapters.clock_system import SystemClock
from gateway.adapters.loop_virtual import VirtualLoop
from gateway.adapters.port_recording import recording
from gateway.adapters.port_replay import replaying
from gateway.adapters.store_memory import MemoryStore
from gateway.cluster.journal import LINE_OCTETS, DecisionDuty, Gatherer, decisions, seal_of
from gateway.cluster.verify import NodeSaid, Run, compare
from gateway.mail.finding import Why
from gateway.node.replaying import replay_lines
from gateway.ops.journal_file import JournalFile
from gateway.ports import Ports
from gateway.ports.answers import decode
from gateway.ports.dns import Answer, Status
from gateway.ports.failure import PortFailure


def test_a_full_journal_becomes_the_one_before_and_each_has_its_policies(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    files = [JournalFile(path, 10_000) for _ in range(2)]
    for number in range(60):
        files[number % 2].write(json.dumps({"n": number, "fill": "x" * 400}), "d1", '{"policy":"d1"}')
    for file in files:
        file.close()
    before = path.with_name("journal.jsonl.1")
    assert {file.name for file in tmp_path.iterdir()} == {path.name, before.name}
    numbers = []
    for file in (before, path):
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        assert lines[0] == {"policy": "d1"}
        assert file.stat().st_size < 10_000 + 1000
        numbers += [line["n"] for line in lines if "n" in line]
    assert 59 in numbers
    assert sum(file.dropped for file in files) == 0


def test_a_journal_that_cannot_be_written_loses_recordings_and_nothing_else(tmp_path: Path) -> None:
    file = JournalFile(tmp_path / "none" / "journal.jsonl", 100_000)
    file.write("{}", "d", "{}")
    file.close()
    assert file.dropped == 1


def test_time_jumps_where_all_wait_and_passes_where_a_thread_works() -> None:
    async def waits() -> tuple[float, float]:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3600):
                await loop.create_future()
        middle = loop.time()
        await asyncio.gather(asyncio.to_thread(time.sleep, 0.05), asyncio.sleep(0.01))
        return middle - begun, loop.time() - middle

    real = time.monotonic()
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        jumped, passed = runner.run(waits())
    assert jumped >= 3600
    assert 0.05 <= passed < 60
    assert time.monotonic() - real < 60


class _Slow:
    async def lookup(self, name: str, rtype: str) -> Answer:
        if name == "never.example":
            await asyncio.sleep(3600)
        if name == "dead.example":
            raise PortFailure("dns", Why.PROTOCOL, "SERVFAIL")
        return Answer(Status.OK, ("v=spf1 -all",), 60)

    async def close(self) -> None:
        pass


async def test_ports_answer_as_they_did_and_say_what_they_were_not_asked() -> None:
    clock = SystemClock()
    ports, answers = recording(Ports(_Slow(), MemoryStore(clock), None, clock))  # type: ignore[arg-type]
    assert (await ports.dns.lookup("a.example", "TXT")).records == ("v=spf1 -all",)
    with pytest.raises(PortFailure):
        await ports.dns.lookup("dead.example", "TXT")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await ports.dns.lookup("never.example", "TXT")
    await ports.store.put("k", "v", 60)
    assert await ports.store.get("k") == "v"
    now = ports.clock.now()
    unasked: list[str] = []
    names = [name for name in Ports.__slots__ if name not in ("recipients", "limiter")]
    again = replaying(names, json.loads(json.dumps(answers)), unasked.append)
    assert await again.dns.lookup("a.example", "TXT") == Answer(Status.OK, ("v=spf1 -all",), 60)
    with pytest.raises(PortFailure, match="SERVFAIL"):
        await again.dns.lookup("dead.example", "TXT")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await again.dns.lookup("never.example", "TXT")
    await again.store.put("other", "v", 60)
    assert await again.store.get("k") == "v"
    assert again.clock.now() == now
    assert not unasked
    with pytest.raises(PortFailure, match="not recorded"):
        await again.dns.lookup("b.example", "TXT")
    assert len(unasked) == 1


@pytest.mark.parametrize(
    "said",
    [
        {"value": "os:stat_result", "of": {}},
        {"value": "gateway.cli.main:Parser", "of": {}},
        {"value": "gateway.mail.reply:reply_for", "of": {}},
        {"enum": "gateway.mail.finding:Cause", "is": 1},
        {"value": "gateway.mail.nothing:No", "of": {}},
        {"strange": 1},
    ],
)
def test_a_recording_makes_nothing_but_our_values(said: Any) -> None:
    with pytest.raises(ValueError):
        decode(said)


async def test_a_check_that_ran_into_its_budget_does_so_again_at_once() -> None:
    world = World()
    await world.run(Facts())
    lines = []
    for line in world.lines:
        said = json.loads(line)
        for step in said.get("steps", ()):
            for answer in step["answers"]:
                if answer[0] == "dns" and '"sender.example", "TXT"' in answer[2]:
                    answer[3:] = ["never", None]
        lines.append(json.dumps(said))
    begun = time.monotonic()
    outcome = await asyncio.to_thread(replay_lines, lines)
    assert time.monotonic() - begun < 15
    (one,) = outcome.replayed
    assert one.record["findings"]["spf"]["cause"] == {"port": "dns", "why": "budget", "detail": "20 s"}


def _record(number: int, **more: Any) -> dict[str, Any]:
    return {
        "event": "transaction",
        "verdict": "accept",
        "qid": f"Q{number}",
        "findings": {},
        "t": {"total": 1.0},
        **more,
    }


async def test_decisions_on_the_board_stay_within_lines_and_octets() -> None:
    board, seal = MemoryBoard(SystemClock()), seal_of(b"a secret of the cluster")
    duty = DecisionDuty(board, seal, "mx1", lines=5, seconds=3600, flush=3600)
    gatherer = Gatherer(most=200)
    for number in range(1500):
        gatherer.note(_record(number))
        if number % 100 == 99:
            duty.hear(gatherer.take() or {})
    gatherer.note({"event": "drain", "message": "no decision"})
    assert gatherer.take() is None
    await duty.turn()
    lines = await board.latest("decisions")
    assert len(lines) == 5
    assert all(len(line.value) <= LINE_OCTETS for line in lines)
    found = await decisions(board, seal)
    assert [record["qid"] for record in found.records] == [f"Q{number}" for number in range(1499, 999, -1)]
    assert all(record["t"] == {"total": 1.0} for record in found.records)
    assert [
        record["qid"] for record in (await decisions(board, seal, wanted=lambda one: one["qid"] == "Q1234")).records
    ] == ["Q1234"]
    assert (await decisions(board, seal_of(b"another secret here"))).strangers == {"mx1"}
    # what is too big loses its findings; what comes too fast is counted
    for number in range(250):
        gatherer.note(_record(number, findings={"spf": "x" * 9000}))
    duty.hear(gatherer.take() or {})
    await duty.leave()
    found = await decisions(board, seal)
    assert found.missed == 50
    assert found.records[0]["truncated"] is True
    assert "findings" not in found.records[0]


def test_nodes_are_compared_by_the_same_set_only() -> None:
    def said(set_digest: str, faults: tuple[str, ...] = (), **digests: str) -> NodeSaid:
        return NodeSaid("", 1.0, Run(set_digest, "p", "1", digests, faults))

    nodes = {
        "a": said("s", x="1", y="2"),
        "b": said("s", x="1", y="3"),
        "c": said("s", x="1", y="2"),
        "d": said("t", x="9"),
    }
    found = compare(nodes, "s", frozenset({"a", "b", "c", "d", "e"}))
    assert (found.odd, found.silent, found.mismatches) == ({"b": ("y",)}, ("d", "e"), 1)
    found = compare({"a": said("s", x="1"), "b": said("s", faults=("x: gone",))}, "s", frozenset({"a", "b"}))
    assert found.odd == {"b": ("x",)}
    assert NodeSaid.decode(nodes["a"].encode()) == nodes["a"]
