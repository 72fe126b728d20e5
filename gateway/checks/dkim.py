"""DKIM (RFC 6376, 8301, 8463): whose signatures does the content carry, and do they hold?

Reads the content; asks DNS for each key once, all at the same time. A big body is hashed in a thread meanwhile.

Known gaps: none.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from gateway.auth.author import author
from gateway.auth.canonical import BodyDigest, BodyWant, body_digests
from gateway.auth.dkim_verify import BEST_FIRST, MAX_NAMED, choose, is_short, read_signatures, result, verify
from gateway.checks.off_loop import HEADER_OCTETS, off_loop
from gateway.mail import limits
from gateway.mail.finding import Cause, DkimFinding, Fact, Finding, Outcome
from gateway.mail.message import Message
from gateway.mail.transaction import Transaction
from gateway.policy.settings import CheckSettings, DkimSettings
from gateway.ports import Ports
from gateway.ports.dns import Resolver, txt
from gateway.ports.failure import PortFailure

T = TypeVar("T")


async def dkim(tx: Transaction, ports: Ports, settings: CheckSettings) -> Finding | None:
    """One result a signature; the outcome is the best one's of those that were tried. Evidence: domains (d= that
    passed), count (signatures in the content, tried or not), short_key (each pass rests on an RSA key of less than
    2,048 bits).

    Signatures that are not tried follow the others with the outcome policy; the first few of them, see ``dkim_verify``.
    """
    assert isinstance(settings, DkimSettings)
    if tx.message is None:
        return None
    count = len(tx.message.all("dkim-signature"))
    if not count:
        return DkimFinding("dkim", Outcome.NONE, "no-signature", {"domains": (), "count": 0, "short_key": False})
    tried, others = choose(read_signatures(tx.message), author(tx.message).domains, settings.max_signatures)
    sound = [signature for signature in tried if not signature.fault]
    names = (signature.key_name for signature in sound)
    answers, digests = await keys_and_hashes(ports.dns, names, tx.message, {signature.want for signature in sound})
    judge = functools.partial(
        verify,
        tx.message,
        digests=digests,
        now=tx.now,
        min_rsa_bits=settings.min_rsa_bits,
        partial_passes=settings.partial_body == "pass",
        short_passes=settings.short_key == "mark",
    )
    results = await judged(
        tx.message, lambda: tuple(judge(one, () if one.fault else answers[one.key_name]) for one in tried)
    )
    best = min(results, key=lambda found: BEST_FIRST.index(found.outcome))
    passed = [found for found in results if found.outcome is Outcome.PASS]
    evidence: dict[str, Fact] = {
        "domains": tuple(dict.fromkeys(found.domain for found in passed)),
        "count": count,
        "short_key": bool(passed) and all(is_short(found.algorithm, found.key_bits) for found in passed),
    }
    cause = None
    if best.outcome is Outcome.TEMPERROR:
        cause = next(answer for answer in answers.values() if isinstance(answer, Cause))
    named = tuple(result(signature, Outcome.POLICY, "not-tried") for signature in others[:MAX_NAMED])
    return DkimFinding("dkim", best.outcome, best.reason, evidence, cause, results + named)


async def keys(dns: Resolver, names: Iterable[str]) -> dict[str, tuple[str, ...] | Cause]:
    """The TXT records of each name, or the cause why nobody knows; asked concurrently, each name once."""

    async def ask(name: str) -> tuple[str, ...] | Cause:
        try:
            return await txt(dns, name)
        except PortFailure as failure:
            return failure.cause

    wanted = list(dict.fromkeys(names))
    if len(wanted) == 1:  # no task for one question
        return {wanted[0]: await ask(wanted[0])}
    return dict(zip(wanted, await asyncio.gather(*(ask(name) for name in wanted)), strict=True))


async def keys_and_hashes(
    dns: Resolver, names: Iterable[str], message: Message, wants: set[BodyWant]
) -> tuple[dict[str, tuple[str, ...] | Cause], Mapping[BodyWant, BodyDigest]]:
    """``keys`` and ``hashed``, at the same time where hashing takes any."""
    if not wants or message.size - message.body_start <= limits.OFF_LOOP_OCTETS:
        return await keys(dns, names), body_digests(message, wants)
    return await asyncio.gather(keys(dns, names), hashed(message, wants))


async def hashed(message: Message, wants: set[BodyWant]) -> Mapping[BodyWant, BodyDigest]:
    """The body's hashes; a body of more than ``limits.OFF_LOOP_OCTETS`` is hashed in a thread."""
    if not wants or message.size - message.body_start <= limits.OFF_LOOP_OCTETS:
        return body_digests(message, wants)
    return await off_loop(lambda stopped: body_digests(message, wants, stopped))


async def judged(message: Message, judge: Callable[[], T]) -> T:
    """What ``judge`` says of the header's signatures; under a big header, which each of them hashes, in a thread."""
    if message.body_start <= HEADER_OCTETS:
        return judge()
    return await off_loop(lambda _: judge())
