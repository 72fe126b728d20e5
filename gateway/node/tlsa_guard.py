"""Before a new certificate comes into force: do the TLSA records of its names fit it?

A key that no record fits makes senders with DANE hold all mail back (RFC 7672 section 2.2), so with ``block`` the old
certificate stays. A name without records has no opinion. Where DNS does not answer the old one stays too, and is asked
again, unless it ends within a day.

Known gaps: whether the records are signed is not asked: unsigned ones count here, though senders ignore them. At the
start there is no old certificate, so nothing is refused then.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gateway.config import Settings
from gateway.node.counted_dns import CountedResolver
from gateway.node.outward import resolver_of_all_types
from gateway.ops.tlsa_metrics import TlsaMetrics
from gateway.outside.own_keys import served_for
from gateway.outside.tlsa import chain_of, owner, read
from gateway.ports.dns import Resolver
from gateway.ports.failure import PortFailure
from gateway.smtp.tls_pair import CertificateError, PemPair

log = logging.getLogger("mxgw.node")

LOOK_SECONDS: Final = 600.0
AGAIN_SECONDS: Final = 4.0
NAMES: Final = 32
_DAY: Final = 86400.0


@dataclass(frozen=True, slots=True)
class Look:
    """matches: host -> whether its records fit (None: there are none, or nobody answered). misfits, unanswered: in
    words."""

    matches: dict[str, bool | None]
    misfits: tuple[str, ...] = ()
    unanswered: tuple[str, ...] = ()


async def look(dns: Resolver, hostname: str, pairs: Sequence[PemPair]) -> Look:
    """Ask for the records of the node's name and of the certificates' names (no wildcards), and compare."""
    names = [hostname, *(name for pair in pairs for name in pair.names if not name.startswith("*."))]
    hosts = list(dict.fromkeys(names))[:NAMES]
    answers = await asyncio.gather(*(dns.lookup(owner(host), "TLSA") for host in hosts), return_exceptions=True)
    matches: dict[str, bool | None] = {}
    misfits, unanswered = [], []
    for host, answer in zip(hosts, answers, strict=True):
        if isinstance(answer, PortFailure):
            matches[host] = None
            unanswered.append(f"{owner(host)}: {answer.cause.why.value}")
            continue
        if isinstance(answer, BaseException):
            raise answer
        records = read(answer.records)
        # a sender may get any of them: it chooses the kind of key
        odd = [
            pair for pair in served_for(pairs, host) if not any(one.fits(chain_of(pair.certificate)) for one in records)
        ]
        matches[host] = None if not records else not odd
        if records:
            misfits += [f"no TLSA record of {host} fits the certificate {pair.name} ({pair.kind})" for pair in odd]
    return Look(matches, tuple(misfits), tuple(unanswered))


class TlsaGuard:
    """block: refuse what does not fit; else only warn. ``watch`` and ``admit`` belong to one event loop."""

    def __init__(self, dns: Resolver, hostname: str, block: bool, metrics: TlsaMetrics) -> None:
        self._dns = dns
        self._hostname = hostname
        self._block = block
        self._metrics = metrics
        self._next = 0.0
        self._said: tuple[str, ...] = ()
        self._refused: tuple[tuple[PemPair, ...], float, str] | None = None

    async def watch(self, pairs: Sequence[PemPair]) -> None:
        """Every ten minutes: the metric, and an error line when those in force fit no record."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + LOOK_SECONDS
        found = await look(self._dns, self._hostname, pairs)
        self._metrics.seen(found.matches)
        if found.misfits != self._said:
            for text in found.misfits:
                log.error("%s, and it is in force", text, extra={"event": "tls"})
            self._said = found.misfits

    async def admit(self, new: tuple[PemPair, ...], old: tuple[PemPair, ...]) -> None:
        """Raises CertificateError where the new ones must not come into force; is soon asked again for them then."""
        if new == old:
            return
        if self._refused and self._refused[0] == new and time.monotonic() < self._refused[1]:
            raise CertificateError(self._refused[2])
        found = await look(self._dns, self._hostname, new)
        self._next = 0.0
        text = "; ".join(found.misfits)
        if found.misfits and not self._block:
            log.warning("%s", text, extra={"event": "tls"})
        elif found.misfits:
            self._refuse(new, f"tlsa_guard: {text}; publish its record first (mxgw tlsa plan)")
        elif found.unanswered:
            self._without_answer(new, old, "; ".join(found.unanswered))

    def _without_answer(self, new: tuple[PemPair, ...], old: tuple[PemPair, ...], text: str) -> None:
        ends = min(pair.not_after for pair in old) - time.time()
        if self._block and ends > _DAY:
            self._refuse(new, f"tlsa_guard: DNS does not say whether TLSA records fit ({text})")
        log.warning("TLSA records could not be asked for: %s", text, extra={"event": "tls"})

    def _refuse(self, new: tuple[PemPair, ...], text: str) -> None:
        self._refused = (new, time.monotonic() + AGAIN_SECONDS, text)
        raise CertificateError(text)


def guard_for(settings: Settings) -> TlsaGuard | None:
    """The guard of the settings, or None where it is off."""
    if settings.tls is None or settings.tls.tlsa_guard == "off":
        return None
    dns = CountedResolver(resolver_of_all_types(settings), "tlsa")
    return TlsaGuard(dns, settings.hostname, settings.tls.tlsa_guard == "block", TlsaMetrics())
