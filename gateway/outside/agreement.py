"""Whether the MX hosts, the settings, the MTA-STS policy, the TLSA records and the certificates that are served agree.

In: what DNS says (``hosts``), the policy, and visits with STARTTLS. Out: lines of a report. Pure.

Known gaps: none.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from ipaddress import ip_address

from gateway.config import Settings
from gateway.outside import mta_sts
from gateway.outside.hosts import MxHost, MxSet
from gateway.outside.mta_sts import StsPolicy
from gateway.outside.report import Line, error, note, ok, unknown, warning
from gateway.outside.visit import Visit

WARN_DAYS = 14
_DAY = 86400.0


def policy_and_mx(found: MxSet, policy: StsPolicy) -> Iterator[Line]:
    """Every MX host stands in the policy, and every pattern stands for one."""
    bad = error if policy.mode == "enforce" else warning
    for host in found.hosts:
        if not policy.covers(host.name):
            yield bad("mta-sts", host.name, f"no mx line of the policy fits this MX host (mode {policy.mode})")
    for pattern in policy.mx:
        if not any(mta_sts.fits(pattern, host.name) for host in found.hosts):
            yield warning("mta-sts", pattern, "this mx line fits no MX host; it is only needed while one comes or goes")
    if all(policy.covers(host.name) for host in found.hosts):
        yield ok("mta-sts", found.domain, f"the policy fits all {len(found.hosts)} MX hosts, mode {policy.mode}")


def settings_and_mx(settings: Settings, found: MxSet) -> Iterator[Line]:
    """Whether DNS has the MX hosts, preferences and addresses of ``publish.mx``: a swapped preference shows here."""
    meant = settings.publish.mx
    wanted = {(one.preference, one.host) for one in meant}
    there = {(one.preference, one.name) for one in found.hosts} if not found.implicit else set()
    for preference, name in sorted(wanted - there):
        yield error("settings", found.domain, f"MX {preference} {name} is meant (publish.mx) and not published")
    for preference, name in sorted(there - wanted):
        yield error("settings", found.domain, f"MX {preference} {name} is published and not meant (publish.mx)")
    addresses = {one.host: {str(address) for address in one.addresses} for one in meant if one.addresses}
    same = wanted == there
    for host in found.hosts:
        ours, theirs = addresses.get(host.name), {str(ip_address(address)) for address in host.addresses}
        if ours is not None and ours != theirs:
            same = False
            text = f"published are {' '.join(sorted(theirs)) or 'none'}, meant {' '.join(sorted(ours))} (publish.mx)"
            yield error("settings", host.name, text)
    if same:
        yield ok("settings", found.domain, "MX hosts and addresses are those of publish.mx")


def certificates(host: MxHost, visits: Sequence[Visit], policy: StsPolicy | None, now: float) -> Iterator[Line]:
    """The certificates that the host's addresses serve: its name, their end, chain, and TLSA. visits: with STARTTLS
    where offered, one of them with the chain verified (``handshake_error`` says why that failed)."""
    enforced = policy is not None and policy.mode == "enforce"
    bad = error if enforced else warning
    for seen in visits:
        where = f"{host.name} {seen.place}"
        if seen.unreachable:
            yield unknown("certificate", where, seen.error)
            continue
        if seen.starttls is None or seen.tls is None:
            why = seen.error or "STARTTLS is not offered"
            yield error("certificate", where, why) if enforced or host.tlsa else warning("certificate", where, why)
            continue
        tls = seen.tls
        if not any(mta_sts.fits(name, host.name) for name in tls.names):
            yield bad("certificate", where, f"is for {', '.join(tls.names) or 'no name'}, not for {host.name}")
        days = (tls.not_after - now) / _DAY
        end = datetime.datetime.fromtimestamp(tls.not_after, datetime.UTC).strftime("%Y-%m-%d")
        if days < WARN_DAYS:
            yield (bad if days < 0 else warning)("certificate", where, f"{'ended' if days < 0 else 'ends'} on {end}")
        else:
            yield ok("certificate", where, f"{tls.version} {tls.cipher}, until {end}")
        if host.tlsa:
            yield tlsa_of(host, seen)


def tlsa_of(host: MxHost, seen: Visit) -> Line:
    """Whether a TLSA record fits what was served."""
    where = f"{host.name} {seen.place}"
    chain = seen.tls.chain if seen.tls else ()
    for number, one in enumerate(host.tlsa, 1):
        if one.fits(chain):
            return ok("tlsa", where, f"record {number} ({str(one)[:20]}...) fits the served certificate")
    return error("tlsa", where, "no published record fits the served certificate: senders with DANE deliver no mail")


def tlsa_records(host: MxHost, wanted: bool = False) -> Iterator[Line]:
    """Whether the records are such as senders can use (RFC 7672). wanted: DANE is meant to be in force."""
    if host.tlsa_failure:
        yield error("tlsa", host.name, f"DNS gives no answer ({host.tlsa_failure}): senders with DANE hold mail back")
        return
    if not host.tlsa:
        yield note("tlsa", host.name, "no TLSA records: no DANE")
        return
    if not host.tlsa_secure:
        bad = error if wanted or host.secure else warning
        yield bad("tlsa", host.name, "the records are not signed (no AD from this resolver): senders ignore them")
    elif not host.secure:
        yield error("tlsa", host.name, "its addresses are not signed: senders ignore the TLSA records")
    for one in host.tlsa:
        if not one.usable:
            yield error("tlsa", host.name, f"{one}: only usages 3 and 2 count for mail (RFC 7672 section 3.1)")
        elif one.usage == 3 and one.selector == 0:
            yield warning("tlsa", host.name, f"{str(one)[:20]}...: changes with each renewal; publish 3 1 1")
    if host.tlsa_ttl > 3600:
        yield warning("tlsa", host.name, f"TTL {host.tlsa_ttl} s: a key roll waits for two of them; 3600 or less")


def chains(host: MxHost, verified: Sequence[Visit], policy: StsPolicy | None) -> Iterator[Line]:
    """Visits that verified chain and name, as senders with MTA-STS do."""
    for seen in verified:
        if seen.handshake_error:
            text = f"senders that verify refuse it: {seen.handshake_error}"
            enforced = policy is not None and policy.mode == "enforce"
            yield (error if enforced else note)("chain", f"{host.name} {seen.place}", text)
