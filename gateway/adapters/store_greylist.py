"""The steps of one greylisting key (RFC 6647), for the stores that have no server to run them in.

In: the time, the question, what is kept of the key and of its client. Out: the answer and what to keep. The Lua script
of the Redis store takes the same steps; one contract suite holds all of them together.

Known gaps: none.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from gateway.ports.store import GreylistAnswer, GreylistMark, GreylistQuestion, Seen

_DAY = 86400.0


@dataclass(frozen=True, slots=True)
class KeyState:
    """What is kept of a key: time of the first attempt, whether it has passed, when to forget it (seconds, UTC), and
    whether it was only learnt."""

    first: float
    passed: bool
    expires: float
    learnt: bool = False


@dataclass(frozen=True, slots=True)
class ClientState:
    """What is kept of a client: whether it waits no more, else who passed when; when to forget it."""

    allowed: bool
    expires: float
    passes: tuple[tuple[float, str], ...] = ()

    def encode(self) -> str:
        """The passes as text."""
        return json.dumps(self.passes)

    @classmethod
    def decode(cls, allowed: bool, expires: float, passes: str) -> ClientState:
        """From columns of a table."""
        return cls(allowed, expires, tuple((float(at), str(who)) for at, who in json.loads(passes)))


@dataclass(frozen=True, slots=True)
class Step:
    """answer; state and client: what to keep of the key and of its client from now on (None: leave as it is)."""

    answer: GreylistAnswer
    state: KeyState | None = None
    client: ClientState | None = None


def step(now: float, question: GreylistQuestion, state: KeyState | None, client: ClientState | None) -> Step:
    """One attempt at ``now``; ``state`` and ``client`` must not have run out."""
    taken = _step(now, question, state, client)
    return Step(taken.answer) if question.look else taken


def _step(now: float, question: GreylistQuestion, state: KeyState | None, client: ClientState | None) -> Step:
    until = now + question.pass_lifetime
    known = KeyState(state.first if state else now, True, until)
    if state and state.passed:
        return Step(GreylistAnswer(Seen.KNOWN), known if _is_due(state.expires, until, question) else None)
    counts = bool(question.client_key) and question.auto_allow_after > 0
    if counts and client and client.allowed:
        prolonged = ClientState(True, until) if _is_due(client.expires, until, question) else None
        return Step(GreylistAnswer(Seen.AUTO), client=prolonged)
    waited = max(0.0, now - state.first) if state else 0.0
    late = state is not None and not state.learnt and waited > question.window
    if state is None or late:
        seen = Seen.EXPIRED if late else Seen.FIRST
        kept = KeyState(now, False, now + question.retention, question.learn)
        return Step(GreylistAnswer(seen, wait=question.delay, waited=waited), kept)
    if waited < question.delay:
        return Step(GreylistAnswer(Seen.EARLY, wait=question.delay - waited))
    # who was learnt did not wait: it is known, and says nothing about real delays
    seen = Seen.KNOWN if state.learnt else Seen.PASSED
    answer = GreylistAnswer(seen, waited=0.0 if state.learnt else waited)
    return Step(answer, known, _passed(now, question, client) if counts else None)


def _passed(now: float, question: GreylistQuestion, client: ClientState | None) -> ClientState:
    who = question.sender or question.key
    kept = client.passes if client else ()
    recent = tuple((at, other) for at, other in kept if at > now - question.auto_window and other != who)
    if len(recent) + 1 >= question.auto_allow_after:
        return ClientState(True, now + question.pass_lifetime)
    return ClientState(False, now + question.auto_window, (*recent, (now, who)))


def _is_due(expires: float, until: float, question: GreylistQuestion) -> bool:
    # a pass is prolonged at most once a day: the busiest keys would cost a write each time
    return until - expires >= min(_DAY, question.pass_lifetime / 10)


def marked(now: float, mark: GreylistMark) -> KeyState | ClientState | None:
    """What to keep for an operator's word; None: nothing."""
    if mark.lifetime <= 0:
        return None
    until = now + mark.lifetime
    return ClientState(True, until) if mark.is_client else KeyState(now, True, until)
