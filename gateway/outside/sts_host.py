"""The MTA-STS side of a domain as senders find it: the record, the policy from each address of its host.

Known gaps: that the id changed together with the policy shows only where the settings are at hand to compare with.
"""

from __future__ import annotations

import asyncio

from gateway.outside.mta_sts import FetchError, StsPolicy, fetch, record_id
from gateway.outside.report import Line, error, ok, unknown, warning
from gateway.ports.dns import Resolver
from gateway.ports.failure import PortFailure


async def look(
    domain: str, dns: Resolver, port: int, ca: str | None, timeout: float
) -> tuple[StsPolicy | None, str, list[Line]]:
    """The policy in force (None: there is none), the record's id, and lines. ca: PEM file in place of the system's."""
    try:
        answer = await dns.lookup(f"_mta-sts.{domain}", "TXT")
        identity = record_id(answer.records)
    except PortFailure as failure:
        return None, "", [unknown("mta-sts", domain, failure.cause.detail)]
    except ValueError as fault:
        return None, "", [error("mta-sts", domain, str(fault))]
    if not identity:
        return None, "", [warning("mta-sts", domain, "no MTA-STS record")]
    host = f"mta-sts.{domain}"
    try:
        found = [await dns.lookup(host, rtype) for rtype in ("A", "AAAA")]
    except PortFailure as failure:
        return None, identity, [unknown("mta-sts", host, failure.cause.detail)]
    addresses = [record for one in found for record in one.records]
    if not addresses:
        return None, identity, [error("mta-sts", host, "has no address, though there is a record")]
    answers = await asyncio.gather(
        *(asyncio.to_thread(fetch, host, address, port, ca, timeout) for address in addresses), return_exceptions=True
    )
    return _judged(host, identity, list(zip(addresses, answers, strict=True)))


def _judged(
    host: str, identity: str, answers: list[tuple[str, str | BaseException]]
) -> tuple[StsPolicy | None, str, list[Line]]:
    lines: list[Line] = []
    policies: dict[str, StsPolicy] = {}
    for address, text in answers:
        if isinstance(text, FetchError):
            lines.append(error("mta-sts", f"{host} {address}", f"the policy cannot be fetched: {text}"))
            continue
        if isinstance(text, BaseException):
            raise text
        try:
            policies[address] = StsPolicy.parse(text)
        except ValueError as fault:
            lines.append(error("mta-sts", f"{host} {address}", f"the policy is broken: {fault}"))
    if len(set(policies.values())) > 1:
        lines.append(error("mta-sts", host, f"its addresses serve different policies: {', '.join(policies)}"))
    policy = next(iter(policies.values()), None)
    if policy is not None:
        shown = f"mode {policy.mode}, max_age {policy.max_age}, mx {' '.join(policy.mx)}, id {identity}"
        lines.append(ok("mta-sts", host, shown))
        if policy.mode != "enforce":
            lines.append(warning("mta-sts", host, f"mode {policy.mode} protects nothing yet"))
        if policy.max_age < 86400:
            lines.append(warning("mta-sts", host, "max_age is below a day; weeks are meant (RFC 8461 section 3.2)"))
    return policy, identity, lines
