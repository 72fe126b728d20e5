"""The node's certificates: watched on the disk by the supervisor, judged once, told to the workers in memory.

Workers never read the files, so all of them have the same certificates, also one that is restarted while the files are
broken. No inotify: it does not see what happens on network file systems, and a look at the files costs microseconds.

Known gaps: a file that keeps inode, size and time over a change is not seen to have changed; SIGHUP reads it anyway.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final, NoReturn, TypedDict

from gateway.node.tlsa_guard import TlsaGuard
from gateway.ops.metrics import NodeMetrics
from gateway.smtp.tls import CertificateError, CertificateHolder
from gateway.smtp.tls_pair import PemPair

log = logging.getLogger("mxgw.node")

POLL: Final = 2.0
DAY: Final = 86400.0
WARN_DAYS: Final = 14


class TlsSaid(TypedDict):
    """What a worker is told: (certificate, key) in PEM of each pair, and how to use them."""

    pairs: list[tuple[str, str]]
    ciphers: str
    tickets: bool


class Certificates:
    """on_new: called on the event loop when other certificates have come into force. guard: may refuse new ones."""

    def __init__(
        self,
        holder: CertificateHolder,
        metrics: NodeMetrics,
        on_new: Callable[[], None],
        guard: TlsaGuard | None = None,
    ) -> None:
        self._guard = guard
        self._holder = holder
        self._metrics = metrics
        self._on_new = on_new
        self._fault = ""
        self._warned = 0.0
        self._lock = asyncio.Lock()
        self._show()

    @property
    def not_after(self) -> float:
        """When the first of them ends: seconds since 1970."""
        return self._holder.not_after

    @property
    def pairs(self) -> tuple[PemPair, ...]:
        """Those in force."""
        return self._holder.pairs

    def said(self) -> TlsSaid:
        """The certificates in force, for a worker. Holds private keys: not for logs."""
        pairs = [(pair.certificate, pair.key) for pair in self._holder.pairs]
        return {"pairs": pairs, "ciphers": self._holder.ciphers, "tickets": self._holder.tickets}

    async def reload(self) -> bool:
        """Read the files. False: they are no use, the log says why, and what was in force stays so."""
        async with self._lock:
            before = self._holder.pairs
            try:
                pairs = await asyncio.to_thread(self._holder.read)
                if self._guard is not None:
                    await self._guard.admit(pairs, before)
                await asyncio.to_thread(self._holder.use, pairs)
            except CertificateError as error:
                if str(error) != self._fault:
                    log.error("%s; the certificates in force stay", error, extra={"event": "tls"})
                self._fault = str(error)
                self._metrics.reloaded("tls", ok=False)
                return False
            self._fault = ""
            self._metrics.reloaded("tls", ok=True)
            if self._holder.pairs != before:
                self._show()
                self._on_new()
                names = [f"{pair.name} ({pair.kind})" for pair in self._holder.pairs]
                log.info("certificates reloaded", extra={"event": "tls", "certificates": names})
                self._warned = 0.0
            self.warn_of_end()
            return True

    async def watch(self) -> NoReturn:
        """Look at the files every two seconds, for ever; files that were no use are tried again each time."""
        while True:
            self.warn_of_end()
            if self._guard is not None:
                await self._guard.watch(self._holder.pairs)
            await asyncio.sleep(POLL)
            changed = await asyncio.to_thread(self._holder.changed)
            if changed or self._fault:
                await self.reload()

    def warn_of_end(self) -> None:
        """Once a day: which certificates have ended or soon will."""
        if self._warned and time.monotonic() - self._warned < DAY:
            return
        self._warned = time.monotonic()
        for pair in self._holder.pairs:
            left = pair.not_after - time.time()
            if left < WARN_DAYS * DAY:
                words = f"ends in {left / DAY:.1f} days" if left > 0 else "has expired"
                log.warning("certificate %s (%s) %s", pair.name, pair.kind, words, extra={"event": "tls"})

    def _show(self) -> None:
        ends: dict[tuple[str, str], float] = {}
        for pair in self._holder.pairs:
            # of two with one name and kind the first to end is the one to know of
            ends[pair.name, pair.kind] = min(pair.not_after, ends.get((pair.name, pair.kind), pair.not_after))
        self._metrics.certificates(ends)
