"""SPF, DMARC, MTA-STS and TLS-RPT records judged by checkdmarc, which asks DNS through the resolvers that it is given.

Heavy and blocking: imported when first used, and called in a thread.

Known gaps: checkdmarc tells a failure of DNS only by its words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import dns.exception
import dns.resolver

from gateway.adapters.dns_servers import resolver_of
from gateway.ports.records import Judged

_UNANSWERED = ("lifetime expired", "timed out", "failed to answer", "SERVFAIL", "All nameservers")


class CheckdmarcJudge:
    """servers: ``(address, port)``, None: the system's."""

    def __init__(self, servers: Sequence[tuple[str, int]] | None, timeout: float = 2.0) -> None:
        self._resolver = resolver_of(dns.resolver.Resolver, servers, timeout, 2 * timeout)
        self._timeout = timeout
        self._fresh = False

    def judge(self, kind: str, domain: str) -> Judged:
        """kind: spf, dmarc, mta-sts or tls-rpt. Blocks."""
        import checkdmarc.dmarc
        import checkdmarc.mta_sts
        import checkdmarc.smtp_tls_reporting
        import checkdmarc.spf
        import checkdmarc.utils

        if not self._fresh:
            # its cache belongs to the process and knows no servers
            checkdmarc.utils.DNS_CACHE.clear()
            self._fresh = True
        ask: Callable[..., Any] = {
            "spf": checkdmarc.spf.check_spf,
            "dmarc": checkdmarc.dmarc.check_dmarc,
            "mta-sts": checkdmarc.mta_sts.query_mta_sts_record,
            "tls-rpt": checkdmarc.smtp_tls_reporting.check_smtp_tls_reporting,
        }[kind]
        try:
            found = ask(domain, resolver=self._resolver, timeout=self._timeout)
            if kind == "mta-sts":
                checkdmarc.mta_sts.parse_mta_sts_record(found["record"])
        except (checkdmarc.mta_sts.MTASTSError, dns.exception.DNSException, OSError) as error:
            return _failed(str(error), ())
        warnings = tuple(str(text) for text in found.get("warnings", ()))
        if not found.get("valid", True):
            return _failed(str(found.get("error", "")), warnings)
        return Judged(True, str(found.get("record") or ""), warnings)


def _failed(error: str, warnings: tuple[str, ...]) -> Judged:
    return Judged(False, "", warnings, error, any(word in error for word in _UNANSWERED))
