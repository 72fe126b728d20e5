"""The supervisor's part in a roll-out: load, promise, switch, and keep in step with the board ever after.

Known gaps: a node whose way to the board breaks in the seconds between its promise and the decision turns clients away
for up to ``HOLD_MOST`` seconds, and then serves the old policy until it hears more.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from gateway.cluster.board_clock import BoardClock
from gateway.cluster.canary import Counts
from gateway.cluster.drift import odd_one, served_elsewhere
from gateway.cluster.membership import BEAT_SECONDS, members
from gateway.cluster.rollout import HOLD_MOST, LEASE, POLL, Generation, Phase, Rollout, Said, State, View
from gateway.cluster.rollout_board import Bundle, bundle_of, look, say, take_step, write_back
from gateway.mail.finding import Why
from gateway.node.notices import Notices, Reports
from gateway.node.policy_in_force import MOMENT, NEXT, REPORT
from gateway.node.policy_keeper import Candidate, PolicyKeeper
from gateway.node.policy_source import PolicyText
from gateway.ports.board import Board
from gateway.ports.failure import PortFailure
from gateway.yamlfile import FaultsError

log = logging.getLogger("mxgw.cluster")

PERIOD: Final = 0.5
CANARY_ALONE: Final = 15.0
"""Seconds without the board after which a canary goes back by itself: nobody watches it."""
_SAY_AGAIN: Final = 1.0
_TRY_AGAIN: Final = 10.0


class PolicyDuty:
    """node: its name. workers: pids of all that run. counts: what became of transactions since the node's start.
    on_odd: told why this node does not serve the cluster's policy, '' when it does, and whether another one does."""

    def __init__(
        self,
        board: Board,
        node: str,
        keeper: PolicyKeeper,
        notices: Notices,
        reports: Reports,
        *,
        workers: Callable[[], frozenset[int]],
        counts: Callable[[], Counts],
        on_odd: Callable[[str, bool], None],
        canary_alone: float = CANARY_ALONE,
    ) -> None:
        self._board = board
        self._node = node
        self._keeper = keeper
        self._notices = notices
        self._workers = workers
        self._counts = counts
        self._on_odd = on_odd
        self._canary_alone = canary_alone
        self._clock = BoardClock()
        self._key = ""
        self._candidate: Candidate | None = None
        self._compiled: dict[int, tuple[str, str]] = {}
        self._promised: dict[int, str] = {}
        self._said = ("", "", 0.0)
        self._began = Counts()
        self._on_canary = ""
        self._before: Candidate | None = None
        self._moment: Mapping[str, Any] = {"key": "", "at": None, "until": None, "hold": None}
        self._last_look = time.monotonic()
        self._number = 0
        self._timer: asyncio.TimerHandle | None = None
        self._compared = -BEAT_SECONDS
        self._minor = ""
        self._unloadable = 0, 0.0
        reports.on(REPORT, self._hear)

    def in_doubt(self) -> str:
        """Why no session may begin now, as the workers see it too; '' when one may."""
        until, now = self._moment["until"], time.monotonic()
        held = until is not None and until <= now < self._moment["hold"]
        return "whether another policy is in force is not known" if held else ""

    async def first_look(self) -> None:
        """Before any worker serves: what the cluster has decided while this node was away. Raises PortFailure."""
        try:
            await self._settle(await self._look())
        except ValueError as error:
            await self._tell_odd(str(error))

    async def turn(self) -> None:
        """Follow a roll-out to its end, or see that all is in step. Raises PortFailure."""
        try:
            view = await self._look()
            while view.state.rollout is not None:
                await self._follow(view, view.state.rollout)
                if not await take_step(self._board, view):
                    await asyncio.sleep(POLL)
                view = await self._look()
            await self._settle(view)
        except ValueError as error:
            await self._tell_odd(str(error))
        except PortFailure:
            self._alone()
            raise

    async def _look(self) -> View:
        begun = time.monotonic()
        view = await look(self._board)
        rollout, bound = view.state.rollout, self._moment["until"] is not None
        switches = view.decision is not None and "at" in view.decision
        if (bound or switches) and (why := await self._unreplicated()):
            # a fail-over may still take back what was seen: nothing is done by it, and no promise renewed. Where nobody
            # here has promised, a stop changes nothing, and without it a roll-out would never end
            raise PortFailure("store", Why.TIMEOUT, why)
        self._last_look = begun
        if bound and rollout is not None and self._moment["key"] == self._key:
            self._tell_moment(until=begun + LEASE, hold=begun + HOLD_MOST)
        return view

    async def _unreplicated(self) -> str:
        try:
            return "" if await self._board.replicated() else "no replica of the store confirms what stands there"
        except PortFailure as failure:
            return str(failure)

    # ---- a roll-out

    async def _follow(self, view: View, rollout: Rollout) -> None:
        if self._timer is not None:
            return  # one switch after the other
        if rollout.id != self._key:
            # how the one before ended may have passed unseen
            await self._settle(view)
            if self._timer is not None:
                return
            await self._load(rollout)
        if self._candidate is None:
            return
        if view.decision is not None:
            if "at" in view.decision:
                await self._switch(self._candidate, float(view.decision["at"]), view.state.lineage)
            return
        if rollout.phase is Phase.LOADING:
            if late := self._uncompiled():
                await self._fail_with(rollout, late)
            elif self._all(self._compiled_keys()):
                await self._say(rollout, "loaded")
        elif rollout.phase is Phase.CANARY:
            if self._on_canary != rollout.id:
                self._began, self._on_canary = self._counts(), rollout.id
                if rollout.canary == self._node:
                    self._before = self._keeper.in_force
                    self._tell_moment(at=time.monotonic())
                    self._keeper.adopt(self._candidate)
            await self._say(rollout, "loaded")
        elif rollout.phase is Phase.PREPARE:
            if self._moment["until"] is None:
                if why := await self._unreplicated():
                    await self._say(rollout, "loaded", why)
                    return
                await self._clock.measure(self._board)
                # the look before this one is what the promise counts from
                self._tell_moment(until=self._last_look + LEASE, hold=self._last_look + HOLD_MOST)
            await self._clock.measure(self._board)
            if self._all(self._promised):
                await self._say(rollout, "prepared")

    async def _load(self, rollout: Rollout) -> None:
        self._key, self._candidate, self._before = rollout.id, None, None
        self._compiled, self._promised = {}, {}
        try:
            candidate = await self._candidate_for(rollout.target)
            if rollout.target.digest not in ("", digest := candidate.policy.digest):
                raise LookupError(f"it means {digest[:8]} to this node's version of the program")
            await asyncio.to_thread(self._keeper.try_disk, candidate)
        except (FaultsError, OSError, LookupError) as error:
            await self._fail_with(rollout, _why(error))
            return
        self._candidate = candidate
        self._tell_next(rollout.id, candidate)

    async def _candidate_for(self, generation: Generation) -> Candidate:
        """Raises FaultsError, LookupError, PortFailure."""
        if not generation.digest:
            return await asyncio.to_thread(self._keeper.own, generation)
        bundle = await bundle_of(self._board, generation.digest)
        if bundle is None:
            raise LookupError(f"the text of {generation.label} is not on the board")
        text = PolicyText(bundle.text, bundle.name)
        return Candidate(generation, text, await asyncio.to_thread(text.parse))

    async def _fail_with(self, rollout: Rollout, why: str) -> None:
        log.error("%s cannot be loaded: %s", rollout.target.label, why, extra={"event": "rollout"})
        self._candidate = None
        await say(self._board, self._node, Said(rollout.id, "failed", why=why))

    async def _say(self, rollout: Rollout, stage: str, why: str = "") -> None:
        key, before, when = self._said
        if (key, before) == (rollout.id, stage) and time.monotonic() - when < _SAY_AGAIN:
            return
        assert self._candidate is not None
        counts = self._counts() - self._began if self._on_canary == rollout.id else Counts()
        await say(self._board, self._node, Said(rollout.id, stage, self._candidate.policy.digest, why, counts))
        self._said = rollout.id, stage, time.monotonic()

    # ---- in step

    async def _settle(self, view: View) -> None:
        state, current = view.state, view.state.current
        if self._before is not None and current.number != self._keeper.in_force.generation.number:
            self._return("the canary's roll-out has ended")
        mine, same = self._keeper.in_force.generation, state.lineage == self._keeper.lineage
        if mine.number and (not state.lineage or (same and current.number < mine.number)):
            await self._write_back(view)
        elif (current.number, current.at) != (mine.number, mine.at):
            candidate = await self._known(current)
            if candidate is None:
                return
            await self._switch(candidate, current.at, state.lineage)
        elif self._timer is None and self._moment["until"] is not None:
            self._tell_moment()
        await self._tell_odd(self._other_meaning(current) if current.digest else await self._minority(), current.digest)

    async def _tell_odd(self, why: str, digest: str = "") -> None:
        # a new version of the program can make all nodes odd: then clients have nowhere else to go
        self._on_odd(why, why != "" and served_elsewhere(await members(self._board), self._node, digest))

    def _other_meaning(self, current: Generation) -> str:
        digest = self._keeper.in_force.policy.digest
        if self._timer is not None or digest == current.digest:
            return ""
        return f"{current.label} means {digest[:8]} to this node's version of the program"

    async def _minority(self) -> str:
        """Where each node has its own file: whether more than half of the nodes agree on another one."""
        if time.monotonic() - self._compared < BEAT_SECONDS:
            return self._minor
        self._compared = time.monotonic()
        digests = {name: said.get("policy", "") for name, said in (await members(self._board)).items()}
        self._minor = odd_one(digests, self._node, self._keeper.in_force.policy.digest)
        return self._minor

    async def _known(self, current: Generation) -> Candidate | None:
        for candidate in (self._candidate, self._before):
            if candidate and candidate.generation.number == current.number:
                return candidate
        if self._unloadable[0] == current.number and time.monotonic() < self._unloadable[1]:
            return None
        try:
            # one that means something else here too, as a kept copy does: nearer to it than the node's own file
            return await self._candidate_for(current)
        except (FaultsError, LookupError) as error:
            await self._tell_odd(f"{current.label} cannot be loaded: {_why(error)}", current.digest)
            self._unloadable = current.number, time.monotonic() + _TRY_AGAIN
            return None

    async def _switch(self, candidate: Candidate, at: float, lineage: str) -> None:
        """Bring it into force at that time of the board, or now where it has passed."""
        if self._timer is not None:
            return
        generation = replace(candidate.generation, at=at)
        candidate = replace(candidate, generation=generation)
        self._before = None
        if self._candidate is None or self._candidate.policy.digest != candidate.policy.digest or not self._key:
            self._tell_anew(candidate)
        await self._clock.measure(self._board)
        moment = self._clock.not_after(at)
        self._tell_moment(at=moment)
        try:
            await asyncio.to_thread(self._keeper.keep, candidate, lineage)
        except OSError as error:
            self._keeper.lineage = lineage
            log.error("the policy's copy cannot be written: %s", error, extra={"event": "rollout"})
        if (left := moment - time.monotonic()) <= 0:
            self._switched(candidate)
        else:
            self._timer = asyncio.get_running_loop().call_later(left, self._switched, candidate)

    def _switched(self, candidate: Candidate) -> None:
        self._timer = None
        self._adopt(candidate)

    def _adopt(self, candidate: Candidate) -> None:
        self._keeper.adopt(candidate)
        # workers that start from now on begin with it. By what was told before they would go back to it once the own
        # file has been read again, and take it for not yet compiled in the next roll-out
        self._notices.forget(NEXT)
        self._notices.forget(MOMENT)
        self._candidate = None

    async def _write_back(self, view: View) -> None:
        mine = self._keeper.in_force
        log.warning("the board has lost %s: written back", mine.generation.label, extra={"event": "rollout"})
        digest = mine.generation.digest
        state = State(self._keeper.lineage, mine.generation, kept=(digest,) if digest else ())
        await write_back(self._board, view, state, Bundle(mine.text.text, mine.text.name) if digest else None)

    def _alone(self) -> None:
        """The board is away."""
        if self._before is not None and time.monotonic() - self._last_look > self._canary_alone:
            self._return("a canary that nobody watches")

    def _return(self, why: str) -> None:
        assert self._before is not None
        log.warning("%s: back to the policy before", why, extra={"event": "rollout"})
        before, self._before = self._before, None
        self._tell_anew(before)
        self._tell_moment(at=time.monotonic())
        self._adopt(before)
        self._on_canary = ""

    # ---- workers

    def _tell_anew(self, candidate: Candidate) -> None:
        self._number += 1
        self._key, self._candidate = f"{candidate.generation.number}-{self._number}", candidate
        self._tell_next(self._key, candidate)

    def _tell_next(self, key: str, candidate: Candidate) -> None:
        self._notices.tell(NEXT, {"key": key, "text": candidate.text.text, "name": candidate.text.name})

    def _tell_moment(self, at: float | None = None, until: float | None = None, hold: float | None = None) -> None:
        self._moment = {"key": self._key, "at": at, "until": until, "hold": hold}
        self._notices.tell(MOMENT, self._moment)

    def _hear(self, said: Mapping[str, Any]) -> None:
        if said.get("prepared"):
            self._promised[said["pid"]] = said["key"]
        else:
            self._compiled[said["pid"]] = said["key"], said.get("why", "")

    def _compiled_keys(self) -> Mapping[int, str]:
        return {pid: key for pid, (key, why) in self._compiled.items() if not why}

    def _all(self, keys: Mapping[int, str]) -> bool:
        return all(keys.get(pid) == self._key for pid in self._workers())

    def _uncompiled(self) -> str:
        failed = (f"worker {pid}: {why}" for pid, (key, why) in self._compiled.items() if why and key == self._key)
        return next(failed, "")


def _why(error: Exception) -> str:
    return str(error.faults[0]) if isinstance(error, FaultsError) else str(error)
