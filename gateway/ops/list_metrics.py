"""Metrics about block and allow lists that the supervisor keeps: their state, our resolvers, our own addresses.

Labels are the lists' names, never their domains, in which access keys stand; the only addresses are our own.

Known gaps: a list or address that is gone keeps its series until the node ends, as 0 or NaN.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from gateway.ops.catalogue import ALL
from gateway.ports.lists import STATES, ListState


class ListMetrics:
    """resolver_faults: all words that ``resolver_faults`` may begin with."""

    def __init__(self, resolver_faults: Iterable[str]) -> None:
        self._states = ALL["rbl_list_state"].make()
        self._faults = ALL["rbl_resolver_fault"].make()
        self._own = ALL["own_address_listed"].make()
        self._words = tuple(resolver_faults)
        self._known: set[tuple[str, str]] = set()
        self._shown: set[tuple[str, str, str]] = set()
        self.resolver_faults(())

    def list_states(self, states: Mapping[str, ListState]) -> None:
        """All lists, by name."""
        now = {(name, seen.state, seen.reason) for name, seen in states.items()}
        sound = {(name, word, "") for name in states for word in STATES}
        for labels in self._shown | now | sound:
            self._states.labels(*labels).set(1 if labels in now else 0)
        self._shown |= now | sound

    def resolver_faults(self, faults: Sequence[str]) -> None:
        """Each begins with its word."""
        words = {fault.partition(" ")[0] for fault in faults}
        for word in self._words:
            self._faults.labels(word).set(1 if word in words else 0)

    def own_addresses(self, addresses: Mapping[str, Iterable[str]], lists: Iterable[str]) -> None:
        """Address -> the lists that hold it; lists: all that were asked."""
        found = {(address, name): name in set(listed) for address, listed in addresses.items() for name in lists}
        for gone in self._known - found.keys():
            self._own.labels(*gone).set(float("nan"))
        for labels, held in found.items():
            self._own.labels(*labels).set(1 if held else 0)
        self._known |= found.keys()
