"""Metrics about block and allow lists that the supervisor keeps: their state, our resolvers, our own addresses.

Labels are the lists' names, never their domains, in which access keys stand; the only addresses are our own.

Known gaps: a list or address that is gone keeps its series until the node ends, as 0 or NaN.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from gateway.ports.lists import STATES, ListState

if TYPE_CHECKING:
    from prometheus_client import Gauge


class ListMetrics:
    """resolver_faults: all words that ``resolver_faults`` may begin with."""

    def __init__(self, resolver_faults: Iterable[str]) -> None:
        # prometheus_client looks for its folder when it is imported, which must not be before the node has made one
        from prometheus_client import CollectorRegistry, Gauge

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            # a registry of its own is not needed: in multiprocess mode the files are what is collected
            return Gauge(
                f"mxgw_{name}", text, labels, registry=CollectorRegistry(), multiprocess_mode="livemostrecent"
            )

        self._states = gauge("rbl_list_state", "1: the state of the list here", "list", "state")
        self._faults = gauge("rbl_resolver_fault", "1: the resolvers are unfit for lists", "fault")
        self._own = gauge("own_address_listed", "1: a list holds our own address", "address", "list")
        self._words = tuple(resolver_faults)
        self._known: set[tuple[str, str]] = set()
        self._lists: set[str] = set()
        self.resolver_faults(())

    def list_states(self, states: Mapping[str, ListState]) -> None:
        """All lists, by name."""
        for name in self._lists | states.keys():
            for word in STATES:
                self._states.labels(name, word).set(1 if name in states and states[name].state == word else 0)
        self._lists |= states.keys()

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
