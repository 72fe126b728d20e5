"""The steps of one greylisting key (RFC 6647), for the stores that have no server to run them in.

In: the time, the question, what is kept of the key and of its client. Out: the answer and what to keep. The Lua script
of the Redis store takes the same steps; one contract suite holds all of them together.

Known gaps: none.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.ports.store import GreylistAnswer, GreylistQuestion, Seen


@dataclass(frozen=True, slots=True)
class KeyState:
    """What is kept of a key: time of the first attempt, whether it has passed, when to forget it (seconds, UTC)."""

    first: float
    passed: bool
    expires: float


@dataclass(frozen=True, slots=True)
class Step:
    """answer; state: what to keep of the key from now on (None: leave as it is); passes: the client's number of passes
    to keep, prolonged by the pass lifetime (None: leave as it is)."""

    answer: GreylistAnswer
    state: KeyState | None = None
    passes: int | None = None


def step(now: float, question: GreylistQuestion, state: KeyState | None, passes: int) -> Step:
    """One attempt at ``now``; ``state`` and ``passes`` must not have run out."""
    known = KeyState(state.first if state else now, True, now + question.pass_lifetime)
    if state and state.passed:
        return Step(GreylistAnswer(Seen.KNOWN), known)
    if question.client_key and 0 < question.auto_allow_after <= passes:
        return Step(GreylistAnswer(Seen.AUTO), passes=passes)
    if state is None:
        return Step(GreylistAnswer(Seen.FIRST, wait=question.delay), KeyState(now, False, now + question.window))
    waited = max(0.0, now - state.first)
    if waited < question.delay:
        return Step(GreylistAnswer(Seen.EARLY, wait=question.delay - waited))
    return Step(GreylistAnswer(Seen.PASSED, waited=waited), known, passes + 1 if question.client_key else None)


def in_window(now: float, window: float, current: int, previous: int) -> float:
    """How many fall into the window that ends now, from this and the previous fixed window's counts."""
    return current + previous * (1.0 - (now % window) / window)
