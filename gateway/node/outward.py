"""For commands that look at us from outside: resolvers for every type, and the judge of records.

Known gaps: none.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.adapters.dns_checkdmarc import CheckdmarcJudge
from gateway.adapters.dns_validated import ValidatedResolver
from gateway.config import Settings, split_address
from gateway.config.place import resolver_address
from gateway.ports.dns import Resolver
from gateway.ports.records import RecordJudge


def _servers(settings: Settings | None, given: Sequence[str]) -> list[tuple[str, int]] | None:
    chosen = [resolver_address(text) for text in given] or (settings.dns.servers if settings else ())
    return [split_address(text) for text in chosen] or None


def resolver_of_all_types(settings: Settings | None, given: Sequence[str] = ()) -> Resolver:
    """The given resolvers (``address`` or ``address:port``), else the settings', else the system's. Raises
    ValueError."""
    timeout = settings.dns.timeout if settings else 2.0
    return ValidatedResolver(_servers(settings, given), timeout, 3 * timeout)


def record_judge(settings: Settings | None, given: Sequence[str] = ()) -> RecordJudge:
    """checkdmarc over the same resolvers. Raises ValueError."""
    return CheckdmarcJudge(_servers(settings, given), settings.dns.timeout if settings else 2.0)
