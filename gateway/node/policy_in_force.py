"""A worker's policy: the one in force, the next one compiled beside it, and the moment between them.

The moment is told in the machine's monotonic clock, and looked at each time that a session or transaction asks for its
policy: a worker that was stopped, or busy, cannot serve the old one afterwards. Where it has promised not to serve the
old one for longer than its last word from the supervisor allows, it turns new sessions away until it knows more.

Known gaps: none.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from gateway.node.policy_source import PolicyText
from gateway.policy.model import Policy
from gateway.yamlfile import FaultsError

NEXT: Final = "policy-next"
"""Notice: key, text and name of a policy to compile."""
MOMENT: Final = "policy-moment"
"""Notice: key; at: when that policy comes into force; until: how long the old one may be served unless more is told;
hold: when that promise ends. Monotonic seconds or None."""
REPORT: Final = "policy"
"""Report: pid, key, and digest, why or prepared."""


class PolicyInForce:
    """Call it for the policy in force now. report: to the supervisor."""

    def __init__(
        self,
        policy: Policy,
        report: Callable[[Mapping[str, Any]], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._policy = policy
        self._report = report
        self._monotonic = monotonic
        self._wanted = ""
        self._next: tuple[str, Policy] | None = None
        self._moment: Mapping[str, Any] = {}
        self._promised = ""
        self._compiling: set[asyncio.Task[None]] = set()

    def __call__(self) -> Policy:
        """The policy of whatever begins now."""
        at = self._moment.get("at")
        compiled = self._next is not None and self._next[0] == self._moment.get("key")
        if at is not None and self._next is not None and compiled and self._monotonic() >= at:
            self._policy, self._moment = self._next[1], {}
        return self._policy

    def replace(self, policy: Policy) -> None:
        """This one is in force from now on (a reload of the node's own file)."""
        self._policy = policy

    def shut(self) -> str:
        """Why no session may begin now; '' when one may."""
        self()
        now, moment = self._monotonic(), self._moment
        at, until = moment.get("at"), moment.get("until")
        if at is not None:
            return "the policy in force is not compiled yet" if now >= at else ""
        if until is not None and until <= now < moment["hold"]:
            return "whether another policy is in force is not known"
        return ""

    def told_next(self, said: Mapping[str, Any]) -> None:
        """A policy to compile, beside the mail."""
        self()  # what is due comes into force before its place is taken
        self._wanted = said["key"]
        task = asyncio.create_task(self._compile(said["key"], PolicyText(said["text"], said["name"])))
        self._compiling.add(task)
        task.add_done_callback(self._compiling.discard)

    def told_moment(self, said: Mapping[str, Any]) -> None:
        """When it comes into force, or how long the old one may be served."""
        self()
        self._moment = said
        if said["until"] is not None and self._promised != said["key"]:
            self._promised = said["key"]
            self._report({"pid": os.getpid(), "key": said["key"], "prepared": True})

    async def caught_up(self) -> None:
        """Wait until all that was told is compiled: before a worker serves."""
        if self._compiling:
            await asyncio.wait(self._compiling)

    async def _compile(self, key: str, text: PolicyText) -> None:
        try:
            policy = await asyncio.to_thread(text.parse)
        except FaultsError as error:
            self._report({"pid": os.getpid(), "key": key, "why": str(error.faults[0])})
            return
        if key == self._wanted:
            self._next = key, policy
        self._report({"pid": os.getpid(), "key": key, "digest": policy.digest})
