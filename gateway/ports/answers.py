"""Values that ports take and give, as JSON and back: for recordings.

Frozen dataclasses and enums of ``gateway.mail`` and ``gateway.ports``, addresses, octets, tuples and mappings; nothing
else is ever made of what a file says.

Known gaps: a recording of another version whose values have other fields cannot be read.
"""

from __future__ import annotations

import base64
import importlib
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from types import MappingProxyType
from typing import Any, Final

_OURS: Final = re.compile(r"gateway\.(?:mail|ports)(?:\.[a-z_]+)?")


def encode(value: Any) -> Any:
    """JSON for a value. Raises TypeError for one of another kind."""
    if isinstance(value, Enum):
        return {"enum": _name(type(value)), "is": value.value}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple):
        return {"tuple": [encode(item) for item in value]}
    if isinstance(value, list):
        return [encode(item) for item in value]
    if isinstance(value, frozenset):
        return {"set": sorted((encode(item) for item in value), key=repr)}
    if isinstance(value, bytes):
        return {"octets": base64.b64encode(value).decode("ascii")}
    if isinstance(value, IPv4Address | IPv6Address):
        return {"address": str(value)}
    if isinstance(value, IPv4Network | IPv6Network):
        return {"network": str(value)}
    if isinstance(value, Mapping):
        return {"map": [[encode(key), encode(item)] for key, item in value.items()]}
    if is_dataclass(value) and not isinstance(value, type):
        named = {item.name: encode(getattr(value, item.name)) for item in fields(value) if item.init}
        return {"value": _name(type(value)), "of": named}
    raise TypeError(f"{type(value).__name__} is not recorded")


def decode(said: Any) -> Any:
    """The value. Raises ValueError for what :func:`encode` does not write."""
    if isinstance(said, list):
        return [decode(item) for item in said]
    if not isinstance(said, dict):
        return said
    try:
        match said:
            case {"enum": name, "is": value}:
                return _class(name, Enum)(value)
            case {"value": name, "of": named}:
                return _class(name, None)(**{key: decode(value) for key, value in named.items()})
            case {"tuple": items}:
                return tuple(decode(item) for item in items)
            case {"set": items}:
                return frozenset(decode(item) for item in items)
            case {"octets": text}:
                return base64.b64decode(text, validate=True)
            case {"address": text}:
                return ip_address(text)
            case {"network": text}:
                return ip_network(text)
            case {"map": pairs}:
                return MappingProxyType({decode(key): decode(value) for key, value in pairs})
    except (TypeError, AttributeError, ImportError) as error:
        raise ValueError(f"not a recorded value: {error}") from error
    raise ValueError("not a recorded value")


def _name(kind: type) -> str:
    if not _OURS.fullmatch(kind.__module__):
        raise TypeError(f"{kind.__name__} is not recorded")
    return f"{kind.__module__}:{kind.__name__}"


def _class(name: str, base: type | None) -> Any:
    module, _, kind = name.partition(":")
    if not _OURS.fullmatch(module):
        raise ValueError(f"{name} is not one of ours")
    found = getattr(importlib.import_module(module), kind)
    if not isinstance(found, type) or not (issubclass(found, base) if base else is_dataclass(found)):
        raise ValueError(f"{name} is not a value")
    return found
