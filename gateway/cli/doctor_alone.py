"""The step ``alone`` of ``mxgw doctor``: what all nodes hang on and there is one of, by the settings. Notes, no faults.

Known gaps: two names may be one machine, and two machines may hang on one switch; nobody can see that from here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.config import Settings

_ONE_REDIS: Final = ("redis:", "rediss:")


def alone(settings: Settings) -> Iterator[str]:
    """A sentence for each."""
    if settings.store.startswith(_ONE_REDIS):
        yield "one Redis without fail-over: while it is away nodes know nothing of each other (sentinel:// or cluster://)"
    for route in settings.routes:
        if len(route.mailstore) == 1:
            yield f"{route.name or route.domains[0]}: one mailstore; while it is away clients hear 451"
    servers = settings.dns.servers
    if len(servers) == 1 and not _on_this_machine(servers[0]):
        yield f"one resolver on another machine ({servers[0]})"
    published = settings.publish.mx
    if len(published) == 1:
        yield f"one MX host is published ({published[0].host})"
    shared = Counter(str(address) for one in published for address in one.addresses)
    for address, hosts in shared.items():
        if hosts > 1:
            yield f"{address} belongs to {hosts} MX hosts: they fail together"


def _on_this_machine(server: str) -> bool:
    host = server.rpartition(":")[0].strip("[]") if server.count(":") == 1 or server.startswith("[") else server
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
