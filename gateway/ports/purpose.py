"""What a question to DNS is for: the check that asks, carried by the task's context, so that no port has an argument
for it. Of askers that share one flight the first one counts.

Known gaps: none.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

_OF_CHECK: Final = {
    "iprev": "ptr",
    "dnsbl": "rbl",
    "spf": "spf",
    "dkim": "dkim",
    "arc": "arc",
    "dmarc": "dmarc",
    "helo": "helo",
    "asn": "asn",
}
OTHER: Final = "other"
PURPOSES: Final = (*_OF_CHECK.values(), "mx", "tlsa", OTHER)
"""Closed: it is a metric label."""

_asking: ContextVar[str] = ContextVar("purpose", default="")


@contextmanager
def asking(who: str) -> Iterator[None]:
    """What is asked inside is asked by this check, or for this purpose."""
    token = _asking.set(who)
    try:
        yield
    finally:
        _asking.reset(token)


def purpose() -> str:
    """A word of PURPOSES."""
    who = _asking.get()
    return _OF_CHECK.get(who) or (who if who in PURPOSES else OTHER)
