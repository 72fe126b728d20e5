"""Ports that write down what the ports behind them answer: everything a replay needs.

Known gaps: how long an answer took is not written down, only that it came, failed, or was not waited for.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from gateway.adapters.port_calls import CALL, Method, key_of, method_of, protocols
from gateway.ports import Ports
from gateway.ports.answers import encode
from gateway.ports.failure import PortFailure

log = logging.getLogger("mxgw.journal")

Answers = list[list[Any]]
"""[port, method, key, how, what] in the order of the answers; how: is, failed or never (nobody waited for it)."""


def recording(ports: Ports) -> tuple[Ports, Answers]:
    """The same ports, and the list that their answers go to."""
    answers: Answers = []
    found: dict[str, Any] = {}
    for item in fields(Ports):
        inner = getattr(ports, item.name)
        if inner is None:
            found[item.name] = None
        elif protocols()[item.name] is None:
            found[item.name] = _at_once(item.name, CALL, inner, method_of(item.name, CALL), answers)
        else:
            found[item.name] = _Recorded(item.name, inner, answers)
    return Ports(**found), answers


class _Recorded:
    """One port. Each method is made when it is asked for first."""

    def __init__(self, port: str, inner: Any, answers: Answers) -> None:
        self._port = port
        self._inner = inner
        self._answers = answers

    def __getattr__(self, name: str) -> Any:
        method, call = method_of(self._port, name), getattr(self._inner, name)
        made = (_later if method.awaited else _at_once)(self._port, name, call, method, self._answers)
        self.__dict__[name] = made
        return made


def _at_once(port: str, name: str, call: Callable[..., Any], method: Method, answers: Answers) -> Callable[..., Any]:
    def asked(*args: Any, **named: Any) -> Any:
        found = call(*args, **named)
        if not method.silent:
            _note(answers, port, name, key_of(args, named, method), found)
        return found

    return asked


def _note(answers: Answers, port: str, name: str, key: str, found: Any) -> None:
    try:
        answers.append([port, name, key, "is", encode(found)])
    except TypeError as error:
        # the recording is worth less, the mail goes on: a replay says that this was not recorded
        log.warning("%s.%s: %s", port, name, error, extra={"event": "journal"})


def _later(port: str, name: str, call: Callable[..., Any], method: Method, answers: Answers) -> Callable[..., Any]:
    async def asked(*args: Any, **named: Any) -> Any:
        key, answered = key_of(args, named, method), False
        try:
            found = await call(*args, **named)
            answered = True
        except PortFailure as failure:
            answers.append([port, name, key, "failed", encode(failure.cause)])
            answered = True
            raise
        finally:
            if not answered:
                answers.append([port, name, key, "never", None])
        if not method.silent:
            _note(answers, port, name, key, found)
        return found

    return asked
