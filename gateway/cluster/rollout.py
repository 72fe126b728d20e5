"""The roll-out of a policy as values: what stands on the board, and what follows from it.

No node leads. Every node reads the same few entries, says what it has done, and takes the next step for all when it is
due; each step is one atomic swap, so it does not matter who takes it. Phases: *loading* (every node compiles the
policy), *canary* (one node serves it, the others watch), *prepare* (every node promises not to serve the old policy for
longer than ``LEASE`` after its last look at the board), then the decision: one switch time for all, or stopped.

Known gaps: a node that has been silent for an hour, or that the operator left out, is not waited for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from gateway.cluster.canary import Counts, out_of_band

POLL: Final = 0.25
"""Seconds between two looks at the board while a roll-out is under way."""
LEASE: Final = 1.5
"""Seconds after the beginning of its last look for which a prepared node may serve the old policy."""
GATE: Final = 1.0
"""Seconds in which a decision must reach the board; the board itself forgets the attempt then."""
LEAD: Final = 3.0
"""Seconds from the decision to the switch. LEAD >= LEASE + GATE: whoever has not read the decision has fallen silent
before the switch. What is left over covers reading."""
HOLD_MOST: Final = 30.0
"""Seconds for which a prepared node without the board turns clients away; then mail counts more than sameness."""
LOAD_SECONDS: Final = 60.0
PREPARE_SECONDS: Final = 15.0


class Phase(StrEnum):
    """Where a roll-out stands."""

    LOADING = "loading"
    CANARY = "canary"
    PREPARE = "prepare"


@dataclass(frozen=True, slots=True)
class Generation:
    """A policy that was or is to be in force. digest '': each node's own file. at: the switch, by the board's clock."""

    number: int = 0
    digest: str = ""
    name: str = ""
    reason: str = ""
    by: str = ""
    at: float = 0.0

    @property
    def label(self) -> str:
        """For people."""
        return f"generation {self.number} ({self.digest[:8] or 'own files'})"


@dataclass(frozen=True, slots=True)
class Rollout:
    """One that is under way. begun: of the phase, by the board's clock. without: nodes that the operator left out."""

    id: str
    target: Generation
    phase: Phase = Phase.LOADING
    begun: float = 0.0
    canary: str = ""
    watch: float = 0.0
    band: float = 0.1
    without: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ended:
    """How the last one ended: done, stopped (nothing has changed) or returned (the canary went back)."""

    id: str
    number: int
    outcome: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class State:
    """All that the cluster knows of its policy. lineage: made at the first push; tells this cluster's numbers from
    those of another one. kept: digests whose text is still on the board, newest last."""

    lineage: str = ""
    current: Generation = field(default_factory=Generation)
    previous: Generation = field(default_factory=Generation)
    rollout: Rollout | None = None
    ended: Ended | None = None
    kept: tuple[str, ...] = ()

    @property
    def next_number(self) -> int:
        """Numbers are never used twice, also not those of roll-outs that were stopped."""
        return max(self.current.number, self.ended.number if self.ended else 0) + 1

    def encode(self) -> str:
        """As it stands on the board."""
        return json.dumps(asdict(self), separators=(",", ":"), ensure_ascii=False)


def decode(text: str) -> State:
    """From the board. Raises ValueError where a newer version wrote what this one cannot read."""
    try:
        said = json.loads(text)
        rollout, ended = said.pop("rollout"), said.pop("ended")
        return State(
            lineage=said["lineage"],
            current=Generation(**said["current"]),
            previous=Generation(**said["previous"]),
            rollout=_rollout(rollout) if rollout else None,
            ended=Ended(**ended) if ended else None,
            kept=tuple(said["kept"]),
        )
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"the policy's state on the board cannot be read: {error!r}") from error


def _rollout(said: dict[str, Any]) -> Rollout:
    parts: dict[str, Any] = {
        "target": Generation(**said.pop("target")),
        "phase": Phase(said.pop("phase")),
        "without": tuple(said.pop("without")),
    }
    return Rollout(**parts, **said)


@dataclass(frozen=True, slots=True)
class Said:
    """What a node said of a roll-out. stage: loaded, prepared or failed. digest: what it computed. why: it failed, or
    does not go on. counts: what became of transactions since the canary began."""

    id: str
    stage: str
    digest: str = ""
    why: str = ""
    counts: Counts = field(default_factory=Counts)

    def encode(self) -> str:
        """As it stands on the board."""
        return json.dumps(asdict(self), separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def decode(cls, text: str) -> Said:
        """From the board. Raises ValueError."""
        try:
            said = json.loads(text)
            return cls(**{**said, "counts": Counts(**said["counts"])})
        except (TypeError, KeyError) as error:
            raise ValueError(repr(error)) from error


@dataclass(frozen=True, slots=True)
class View:
    """One look at the board. raw: the state's text, for the swap. decision: of the roll-out under way. said: by node.
    live: nodes with a heartbeat. roster: those and all that fell silent within the hour without leaving."""

    raw: str | None
    state: State
    decision: Mapping[str, Any] | None = None
    said: Mapping[str, Said] = field(default_factory=dict)
    live: frozenset[str] = frozenset()
    roster: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Step:
    """What is due. state: to be swapped in. commit, stop: to be decided at the gate."""

    state: State | None = None
    commit: bool = False
    stop: str = ""


def due(view: View, now: float) -> Step | None:
    """The next step, whoever takes it; None: all wait. now: by the board's clock."""
    state, rollout = view.state, view.state.rollout
    if rollout is None:
        return None
    if view.decision is not None:
        return Step(state=_folded(state, rollout, view.decision))
    needed = (view.roster | view.live) - set(rollout.without)
    if why := _objection(view, rollout, needed):
        return Step(stop=why)
    heard = {node: said for node, said in view.said.items() if said.id == rollout.id and node in needed}
    waited = now - rollout.begun
    match rollout.phase:
        case Phase.LOADING:
            if late := _not_yet(needed, heard, ("loaded", "prepared")):
                return Step(stop=f"no word from {late} in {LOAD_SECONDS:g} s") if waited > LOAD_SECONDS else None
            digests = {said.digest for said in heard.values()}
            if len(digests) > 1:
                return Step(stop="the nodes' own files differ: " + _digests(heard))
            return Step(state=_in_phase(state, rollout, Phase.CANARY if rollout.canary else Phase.PREPARE, now))
        case Phase.CANARY:
            others = [said.counts for node, said in heard.items() if node != rollout.canary]
            judged = heard[rollout.canary].counts if rollout.canary in heard else Counts()
            if why := out_of_band(judged, others, rollout.band):
                return Step(stop=f"canary {rollout.canary}: {why}")
            return Step(state=_in_phase(state, rollout, Phase.PREPARE, now)) if waited >= rollout.watch else None
        case Phase.PREPARE:
            late = _not_yet(needed, heard, ("prepared",))
            if not late:
                return Step(commit=True)
            return Step(stop=f"{late} did not prepare in {PREPARE_SECONDS:g} s") if waited > PREPARE_SECONDS else None


def _objection(view: View, rollout: Rollout, needed: frozenset[str]) -> str:
    for node in sorted(needed - view.live):
        return f"{node} is silent, nobody knows what it serves (--without {node} where it is dead)"
    if rollout.canary and rollout.canary not in view.live:
        return f"there is no node {rollout.canary}"
    for node, said in sorted(view.said.items()):
        if said.id == rollout.id and said.stage == "failed" and node in needed:
            return f"{node} cannot load it: {said.why}"
    return ""


def _not_yet(needed: frozenset[str], heard: Mapping[str, Said], stages: tuple[str, ...]) -> str:
    late = sorted(node for node in needed if node not in heard or heard[node].stage not in stages)
    return ", ".join(node + (f" ({heard[node].why})" if node in heard and heard[node].why else "") for node in late)


def _digests(heard: Mapping[str, Said]) -> str:
    return ", ".join(f"{node} {said.digest[:8]}" for node, said in sorted(heard.items()))


def _in_phase(state: State, rollout: Rollout, phase: Phase, now: float) -> State:
    return replace(state, rollout=replace(rollout, phase=phase, begun=now))


def _folded(state: State, rollout: Rollout, decision: Mapping[str, Any]) -> State:
    target = rollout.target
    if "at" in decision:
        ended = Ended(rollout.id, target.number, "done")
        current = replace(target, at=float(decision["at"]))
        return replace(state, current=current, previous=state.current, rollout=None, ended=ended)
    outcome = "returned" if rollout.phase is Phase.CANARY else "stopped"
    ended = Ended(rollout.id, target.number, outcome, str(decision.get("stopped", "")))
    return replace(state, rollout=None, ended=ended)
