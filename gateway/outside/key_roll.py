"""The order in which a key with TLSA records is replaced, and how far that has come (RFC 7671 section 8.1).

In: what is published, what is served, the current and the next key. Out: steps. Pure.

Known gaps: one key a host: with an ECDSA and an RSA key roll one after the other.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.outside.tlsa import Tlsa, owner


@dataclass(frozen=True, slots=True)
class Step:
    """done: what was seen shows it. not_before: seconds since 1970, where the step has to wait; 0: at once."""

    text: str
    command: str = ""
    done: bool = False
    not_before: float = 0.0

    @property
    def when(self) -> str:
        """For people, in UTC."""
        if self.done:
            return "done"
        if not self.not_before:
            return "now"
        return datetime.datetime.fromtimestamp(self.not_before, datetime.UTC).strftime("from %Y-%m-%d %H:%M UTC")


@dataclass(frozen=True, slots=True)
class State:
    """published: TLSA records by host. ttl: the longest of them, seconds. current: our keys' records, next_key: that
    of the key to come. serving_next, serving: how many addresses serve it, and how many there are."""

    published: dict[str, tuple[Tlsa, ...]]
    ttl: int
    current: tuple[Tlsa, ...]
    next_key: Tlsa | None
    serving_next: int
    serving: int


def steps(state: State, now: float) -> list[Step]:
    """All steps in their order; those that wait count from now, for nobody knows since when a record stands."""
    wait = 2 * state.ttl
    coming = state.next_key
    both = coming is not None and all(coming in found for found in state.published.values())
    served = coming is not None and 0 < state.serving == state.serving_next
    old = {one for found in state.published.values() for one in found} - ({coming} if coming else set())
    gone = served and not old
    make = "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out next.key"
    first_wait = 0.0 if served else now + wait
    second_wait = 0.0 if gone else (now + wait if served else first_wait + wait)
    return [
        Step("make the next key and name it in the settings as tls.next_key", make, coming is not None),
        Step("publish the records of both keys" + _records(state), "mxgw tlsa show", both),
        Step(f"wait {wait} s (two TTLs), until no sender knows the old set alone", "", served, now if both else 0.0),
        Step(
            "get a certificate for the next key and put both in the place of the old ones, on every node; each takes "
            "them by itself, and with tls.tlsa_guard: block only if the records fit",
            "mxgw tlsa check",
            served,
            first_wait,
        ),
        Step(f"see all addresses serve it ({state.serving_next} of {state.serving} now)", "mxgw tlsa check", served),
        Step(f"wait {wait} s again, then take the old records out", "", gone, second_wait),
        Step("take tls.next_key out of the settings", "", False, second_wait),
    ]


def _records(state: State) -> str:
    wanted: Sequence[Tlsa] = [*state.current, *([state.next_key] if state.next_key else [])]
    missing = [f"{owner(host)} {one}" for host, found in state.published.items() for one in wanted if one not in found]
    return f"; missing: {', '.join(missing)}" if missing else ""
