"""Roll-outs on the board: reading them, beginning one, taking the next step, and what they leave in the history.

Place ``policy``: ``state`` (``rollout.State``) and ``decision:ID`` of a roll-out that is being decided. Place
``policy-said``: what each node says. Place ``bundle:DIGEST``: the text. Journal ``policy-history``.

The decision needs care: it names a switch time, so it must not come to stand on the board long after that time was
chosen. An attempt therefore puts a mark that the board forgets after ``GATE`` seconds, reads the board's clock, and
swaps the mark for the decision; a node that was held up in between finds the mark gone.

Known gaps: none.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from gateway.cluster.membership import NODES, ROSTER
from gateway.cluster.rollout import (
    GATE,
    LEAD,
    Ended,
    Generation,
    Phase,
    Rollout,
    Said,
    State,
    Step,
    View,
    decode,
    due,
)
from gateway.ports.board import Board

log = logging.getLogger("mxgw.cluster")

PLACE: Final = "policy"
SAID: Final = "policy-said"
HISTORY: Final = "policy-history"
BUNDLES_KEPT: Final = 20
TEXT_OCTETS: Final = 1024 * 1024
_STATE: Final = "state"
_BEGINS_SECONDS: Final = 3600.0
_HISTORY_LINES: Final = 500
_HISTORY_SECONDS: Final = 400 * 86400.0
SAID_SECONDS: Final = 10.0
"""A node's word is renewed every second. SAID_SECONDS + GATE + LEAD < HOLD_MOST: no decision rests on a promise that
ends before the switch."""


class UnderWay(Exception):
    """Another roll-out has not ended yet; the text says which."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A policy's text and its file's name."""

    text: str
    name: str


async def state_of(board: Board) -> State:
    """The state. Raises PortFailure, ValueError."""
    raw = await board.read(PLACE, _STATE)
    return decode(raw) if raw else State()


async def look(board: Board) -> View:
    """All that there is to know. Raises PortFailure, ValueError."""
    entries = await board.entries(PLACE)
    raw = entries.get(_STATE)
    state = decode(raw) if raw else State()
    if state.rollout is None:
        return View(raw, state)
    return View(
        raw,
        state,
        _decision(entries, state.rollout.id),
        _said(await board.entries(SAID)),
        frozenset(await board.entries(NODES)),
        frozenset(await board.entries(ROSTER)),
    )


def _decision(entries: Mapping[str, str], rollout: str) -> Mapping[str, Any] | None:
    said = json.loads(entries.get(f"decision:{rollout}", "null"))
    return None if said is None or "mark" in said else dict(said)


def _said(entries: Mapping[str, str]) -> dict[str, Said]:
    found = {}
    for node, value in entries.items():
        try:
            found[node] = Said.decode(value)
        except ValueError as error:
            # a node of another version: as if it had said nothing, which no roll-out passes over
            log.warning("what %s said of the policy cannot be read: %s", node, error, extra={"event": "rollout"})
    return found


async def say(board: Board, node: str, said: Said) -> None:
    """A node's word on the roll-out. Raises PortFailure."""
    await board.write(SAID, node, said.encode(), SAID_SECONDS)


async def bundle_of(board: Board, digest: str) -> Bundle | None:
    """The text of that digest. Raises PortFailure."""
    said = await board.read(f"bundle:{digest}", "text")
    return Bundle(**json.loads(said)) if said else None


async def keep_bundle(board: Board, digest: str, bundle: Bundle, seconds: float | None = None) -> None:
    """Put a text where every node finds it. seconds: until it is gone; None: it stays. Raises PortFailure."""
    await board.write(f"bundle:{digest}", "text", json.dumps({"text": bundle.text, "name": bundle.name}), seconds)


async def begin(board: Board, target: Generation, bundle: Bundle | None, plan: Rollout) -> Rollout:
    """Begin a roll-out of ``target`` (its number is given here). bundle: None where the text is on the board, or each
    node's own file is meant. plan: canary, watch, band and without are taken from it. Raises UnderWay, PortFailure,
    ValueError."""
    if bundle is not None and len(bundle.text.encode()) > TEXT_OCTETS:
        raise ValueError(f"the policy is larger than {TEXT_OCTETS} octets")
    view = await look(board)
    state, running = view.state, view.state.rollout
    if running is not None:
        raise UnderWay(f"{running.target.label} is under way: {running.phase}")
    rollout = replace(
        plan,
        id=secrets.token_hex(8),
        target=replace(target, number=state.next_number, at=0.0),
        phase=Phase.LOADING,
        begun=await board.now(),
    )
    kept = tuple(digest for digest in state.kept if digest != target.digest) + (target.digest,) * bool(target.digest)
    after = replace(state, lineage=state.lineage or secrets.token_hex(8), rollout=rollout, kept=kept[-BUNDLES_KEPT:])
    if bundle is not None:
        # before the nodes look for it; should this roll-out not come to be, it goes by itself
        await keep_bundle(board, target.digest, bundle, None if target.digest in state.kept else _BEGINS_SECONDS)
    if not await board.swap(PLACE, _STATE, view.raw, after.encode()):
        raise UnderWay("another one has just begun")
    if bundle is not None:
        await keep_bundle(board, target.digest, bundle)
    for digest in kept[:-BUNDLES_KEPT]:
        await board.erase(f"bundle:{digest}", "text")
    await _tell_history(board, rollout, "begun", rollout.target.reason)
    return rollout


async def take_step(board: Board, view: View) -> bool:
    """Take what is due, if anything is and no other node has. Returns whether the state has moved. Raises
    PortFailure."""
    rollout = view.state.rollout
    if rollout is None:
        return False
    step = due(view, await board.now())
    if step is None:
        return False
    if step.commit or (step.stop and rollout.phase is Phase.PREPARE):
        return await _decide(board, rollout, step)
    outcome = "returned" if rollout.phase is Phase.CANARY else "stopped"
    after = step.state
    if after is None:
        after = replace(view.state, rollout=None, ended=Ended(rollout.id, rollout.target.number, outcome, step.stop))
    if rollout.target.digest in after.kept and (bundle := await bundle_of(board, rollout.target.digest)):
        # for good: the command may have ended before it could
        await keep_bundle(board, rollout.target.digest, bundle)
    if not await board.swap(PLACE, _STATE, view.raw, after.encode()):
        return False
    if after.rollout is not None:
        await _tell_history(board, rollout, after.rollout.phase.value, "")
    elif after.ended is not None:
        await board.erase(PLACE, f"decision:{rollout.id}")
        await _tell_history(board, rollout, after.ended.outcome, after.ended.why, after.current.at)
    return True


async def _decide(board: Board, rollout: Rollout, step: Step) -> bool:
    key = f"decision:{rollout.id}"
    if not step.commit:
        return await board.swap(PLACE, key, None, json.dumps({"stopped": step.stop}))
    mark = json.dumps({"mark": secrets.token_hex(8)})
    if not await board.swap(PLACE, key, None, mark, GATE):
        return False
    at = await board.now() + LEAD
    return await board.swap(PLACE, key, mark, json.dumps({"at": round(at, 3)}))


async def write_back(board: Board, view: View, state: State, bundle: Bundle | None) -> bool:
    """The board has lost what this node knows (it came back empty, or a fail-over lost the last writes): put it back.
    Raises PortFailure."""
    if bundle is not None:
        await keep_bundle(board, state.current.digest, bundle)
    after = replace(state, rollout=None)
    return await board.swap(PLACE, _STATE, view.raw, after.encode())


async def _tell_history(board: Board, rollout: Rollout, event: str, why: str, at: float = 0.0) -> None:
    target = rollout.target
    line = {
        "generation": target.number,
        "digest": target.digest,
        "event": event,
        "why": why,
        "name": target.name,
        "by": target.by,
        "at": at,
        **({"canary": rollout.canary} if rollout.canary else {}),
    }
    await board.append(HISTORY, json.dumps(line, ensure_ascii=False), _HISTORY_LINES, _HISTORY_SECONDS)
