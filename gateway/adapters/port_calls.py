"""What a call of a port is, for those that record calls and those that answer from recordings.

Read from the Protocols of ``gateway.ports``: whether a method is awaited, and whether it answers anything.

Known gaps: of a transaction that is given to a port only its recipient tells calls apart, of a value that no recording
can hold only its type.
"""

from __future__ import annotations

import collections.abc
import functools
import inspect
import json
from dataclasses import dataclass
from types import NoneType
from typing import Any, Final, get_args, get_origin, get_type_hints

from gateway.mail.transaction import Transaction
from gateway.ports import Ports
from gateway.ports.answers import encode

CALL: Final = "()"
"""The method's name of a port that is a function."""


@dataclass(frozen=True, slots=True)
class Method:
    """awaited: a coroutine. silent: it answers nothing, so only that it failed is worth recording."""

    awaited: bool
    silent: bool


@functools.cache
def protocols() -> dict[str, Any]:
    """Port -> its Protocol, or None for a function."""
    found: dict[str, Any] = {}
    for name, hint in get_type_hints(Ports).items():
        kinds = [one for one in get_args(hint) if one is not NoneType] if NoneType in get_args(hint) else [hint]
        found[name] = None if get_origin(kinds[0]) is collections.abc.Callable else kinds[0]
    return found


@functools.cache
def method_of(port: str, name: str) -> Method:
    """Raises AttributeError for a method that the port does not have."""
    protocol = protocols()[port]
    if protocol is None:
        return Method(awaited=False, silent=False)
    function = getattr(protocol, name)
    return Method(inspect.iscoroutinefunction(function), inspect.signature(function).return_annotation == "None")


def key_of(args: tuple[Any, ...], named: dict[str, Any], method: Method) -> str:
    """What tells this call from others of its method: the arguments; of a silent one the first."""
    told: list[Any] = [*args, *(named[key] for key in sorted(named))]
    if method.silent:
        told = told[:1]
    return json.dumps([_told(one) for one in told], sort_keys=True)


def _told(value: Any) -> Any:
    if isinstance(value, Transaction):
        return str(value.rcpt)
    try:
        return encode(value)
    except TypeError:
        return type(value).__name__
