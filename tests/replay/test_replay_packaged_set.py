"""The recordings that come with the product can be replayed by each packaged policy, and differ where policies do.

``MXGW_UPDATE=1`` makes them anew.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from replay_world import CONTENT, Facts, World

import gateway
from gateway.node.replaying import replay_lines
from gateway.node.verify import packaged_set, run_of
from gateway.policy.load import load_packaged

ROOT = Path(gateway.__file__).parent
FORGED = CONTENT.replace(b"From: ann@sender.example", b"From: x@bank.example")
SESSIONS = (
    Facts(),
    Facts(tls=True, delivered="deferred"),
    Facts(client="192.0.2.66"),
    Facts(client="198.51.100.7", helo="localhost"),
    Facts(client="2001:db8::7", path="", to=("user@example.com", "nobody@example.com")),
    Facts(path="x@bank.example", content=FORGED),
    Facts(client="198.51.100.7", path="ann@sender.example"),
    Facts(path="a@dead.example", content=CONTENT.replace(b"sender.example", b"dead.example")),
    Facts(to=("later@example.com", "user@foreign.example")),
    Facts(store=False, client="192.0.2.20"),
    Facts(content=b"Received: x\r\n" * 120 + CONTENT),
    Facts(blocked=True),
    Facts(early=True),
    Facts(client_known=False),
    Facts(to=("user@example.com", "user@quiet.example"), prdr=True),
    Facts(end="left"),
    Facts(end="bare"),
)


async def made() -> str:
    world = World(policy_text=(ROOT / "policies" / "default.yaml").read_text(encoding="utf-8"))
    for facts in SESSIONS:
        await world.run(facts)
    return "\n".join(world.lines) + "\n"


def test_each_packaged_policy_replays_it() -> None:
    if os.environ.get("MXGW_UPDATE"):
        (ROOT / "evidence" / "verify_set.jsonl").write_text(asyncio.run(made()), encoding="ascii")
    runs = {}
    for name in ("default", "strict", "observe"):
        policy = load_packaged(name)
        run = asyncio.run(run_of(None, policy))
        assert not run.faults
        assert len(run.digests) >= len(SESSIONS)
        assert asyncio.run(run_of(None, policy)).digests == run.digests
        runs[name] = run.digests
    assert runs["default"] != runs["strict"] != runs["observe"]


def test_it_holds_refusals_of_all_kinds() -> None:
    found = replay_lines(packaged_set().splitlines(), load_packaged("default")).replayed
    assert {one.record["verdict"] for one in found} >= {"accept", "defer", "reject", "none"}
