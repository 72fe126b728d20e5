"""DKIM (RFC 6376, 8301, 8463): whose signatures does the content carry, and do they hold?

Reads the content; asks DNS for each key once, all at the same time. A big body is hashed in a thread meanwhile.

Known gaps: none.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Mapping

from gateway.auth.author import author
from gateway.auth.canonical import BodyDigest, BodyWant, body_digests
from gateway.auth.dkim_verify import BEST_FIRST, choose, read_signatures, verify
from gateway.mail import limits
from gateway.mail.finding import Cause, DkimFinding, Fact, Finding, Outcome
from gateway.mail.message import Message
from gateway.mail.transaction import Transaction
from gateway.policy.settings import CheckSettings, DkimSettings
from gateway.ports import Ports
from gateway.ports.dns import Resolver, txt
from gateway.ports.failure import PortFailure


async def dkim(tx: Transaction, ports: Ports, settings: CheckSettings) -> Finding | None:
    """One result a signature; the outcome is the best one's. Evidence: domains (d= that passed), count (signatures in
    the content, tried or not)."""
    assert isinstance(settings, DkimSettings)
    if tx.message is None:
        return None
    present = read_signatures(tx.message)
    if not present:
        return DkimFinding("dkim", Outcome.NONE, "no-signature", {"domains": (), "count": 0})
    tried = choose(present, author(tx.message).domains, settings.max_signatures)
    sound = [signature for signature in tried if not signature.fault]
    answers, digests = await asyncio.gather(
        keys(ports.dns, (signature.key_name for signature in sound)),
        hashed(tx.message, {signature.want for signature in sound}),
    )
    results = tuple(
        verify(
            tx.message,
            signature,
            () if signature.fault else answers[signature.key_name],
            digests,
            now=tx.now,
            min_rsa_bits=settings.min_rsa_bits,
            partial_passes=settings.partial_body == "pass",
        )
        for signature in tried
    )
    best = min(results, key=lambda found: BEST_FIRST.index(found.outcome))
    passed = dict.fromkeys(found.domain for found in results if found.outcome is Outcome.PASS)
    evidence: dict[str, Fact] = {"domains": tuple(passed), "count": len(present)}
    cause = None
    if best.outcome is Outcome.TEMPERROR:
        cause = next(answer for answer in answers.values() if isinstance(answer, Cause))
    return DkimFinding("dkim", best.outcome, best.reason, evidence, cause, results)


async def keys(dns: Resolver, names: Iterable[str]) -> dict[str, tuple[str, ...] | Cause]:
    """The TXT records of each name, or the cause why nobody knows; asked concurrently, each name once."""

    async def ask(name: str) -> tuple[str, ...] | Cause:
        try:
            return await txt(dns, name)
        except PortFailure as failure:
            return failure.cause

    wanted = list(dict.fromkeys(names))
    return dict(zip(wanted, await asyncio.gather(*(ask(name) for name in wanted)), strict=True))


async def hashed(message: Message, wants: set[BodyWant]) -> Mapping[BodyWant, BodyDigest]:
    """The body's hashes; a body of more than ``limits.OFF_LOOP_OCTETS`` is hashed in a thread, which is never left
    running: it reads a mapped file that the transaction closes."""
    if not wants or message.size - message.body_start <= limits.OFF_LOOP_OCTETS:
        return body_digests(message, wants)
    stop = threading.Event()
    job = asyncio.ensure_future(asyncio.to_thread(body_digests, message, wants, stop.is_set))
    try:
        return await asyncio.shield(job)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([job])
        if not job.cancelled():
            job.exception()  # read, so that the loop does not report the Stopped we asked for
        raise
