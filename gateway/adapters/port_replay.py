"""Ports that answer from a recording, and from nothing else: no network, no store, no clock.

A question that was asked several times gets its answers in order, the last one again and again. What was not recorded
is a failure of that port, and is told; a write that was not recorded is not made.

Known gaps: all answers come at once; one that never came is waited for, so a budget must end the wait.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

from gateway.adapters.port_calls import CALL, Method, key_of, method_of, protocols
from gateway.mail.finding import Cause, Why
from gateway.ports import Ports
from gateway.ports.answers import decode
from gateway.ports.failure import PortFailure

Kept = dict[tuple[str, str, str], deque[tuple[str, Any]]]


def replaying(names: Sequence[str], answers: Sequence[Sequence[Any]], on_unasked: Callable[[str], None]) -> Ports:
    """names: the ports that there were. answers: as ``port_recording`` wrote them. on_unasked: gets each question
    without an answer. Raises ValueError for answers that cannot be read."""
    kept: Kept = {}
    for port, method, key, how, what in answers:
        kept.setdefault((port, method, key), deque()).append((how, decode(what)))
    found: dict[str, Any] = {}
    for item in fields(Ports):
        if item.name not in names:
            found[item.name] = None
        elif protocols()[item.name] is None:
            found[item.name] = _at_once(item.name, CALL, method_of(item.name, CALL), kept, on_unasked)
        else:
            found[item.name] = _Replayed(item.name, kept, on_unasked)
    return Ports(**found)


class _Replayed:
    """One port."""

    def __init__(self, port: str, kept: Kept, on_unasked: Callable[[str], None]) -> None:
        self._port = port
        self._kept = kept
        self._on_unasked = on_unasked

    def __getattr__(self, name: str) -> Any:
        method = method_of(self._port, name)
        made = (_later if method.awaited else _at_once)(self._port, name, method, self._kept, self._on_unasked)
        self.__dict__[name] = made
        return made


def _at_once(port: str, name: str, method: Method, kept: Kept, on_unasked: Callable[[str], None]) -> Callable[..., Any]:
    def asked(*args: Any, **named: Any) -> Any:
        if method.silent:
            return None
        return _given(port, name, key_of(args, named, method), method, kept, on_unasked)[1]

    return asked


def _later(port: str, name: str, method: Method, kept: Kept, on_unasked: Callable[[str], None]) -> Callable[..., Any]:
    async def asked(*args: Any, **named: Any) -> Any:
        how, what = _given(port, name, key_of(args, named, method), method, kept, on_unasked)
        if how == "never":
            await asyncio.get_running_loop().create_future()
        if how == "failed":
            assert isinstance(what, Cause)
            raise PortFailure(what.port, what.why, what.detail)
        return what

    return asked


def _given(
    port: str, name: str, key: str, method: Method, kept: Kept, on_unasked: Callable[[str], None]
) -> tuple[str, Any]:
    answers = kept.get((port, name, key))
    if answers:
        return answers.popleft() if len(answers) > 1 else answers[0]
    if method.silent:
        return "is", None
    on_unasked(f"{port}.{name} {key}")
    raise PortFailure(port, Why.PROTOCOL, "not recorded")
