"""What a domain and the cluster's MX hosts publish in DNS, from the settings: values and a master file's text.

In: settings, a domain, the TLSA records of the keys at hand. Out: records with absolute names.

Known gaps: DKIM keys are the business of those who send for the domain; a zone's SOA and NS are not written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from gateway.config import Settings
from gateway.config.publish_section import MtaStsSettings, MxSettings
from gateway.outside.mta_sts import StsPolicy
from gateway.outside.tlsa import Tlsa, owner

_STRING = 255


@dataclass(frozen=True, slots=True)
class Record:
    """name: absolute, without the trailing dot; data: as a master file has it; why: one line for people."""

    name: str
    ttl: int
    rtype: str
    data: str
    why: str

    def as_json(self) -> dict[str, object]:
        """For programs."""
        return {"name": self.name, "ttl": self.ttl, "type": self.rtype, "data": self.data, "why": self.why}

    def __str__(self) -> str:
        return f"{self.name}. {self.ttl} IN {self.rtype} {self.data}"


def mx_hosts(settings: Settings) -> tuple[MxSettings, ...]:
    """The MX hosts of the cluster; where the settings name none, this node alone, without addresses."""
    return settings.publish.mx or (MxSettings(host=settings.hostname),)


def serves(settings: Settings, domain: str) -> bool:
    """Whether a route is for this domain."""
    routed = [one for route in settings.routes for one in route.domains]
    return any(domain == one or (one.startswith("*.") and domain.endswith(one[1:])) for one in routed)


def sts_policy(settings: Settings) -> StsPolicy | None:
    """The MTA-STS policy of the settings, or None."""
    chosen = settings.mta_sts
    if chosen is None:
        return None
    hosts = tuple(dict.fromkeys(one.host for one in mx_hosts(settings)))
    return StsPolicy(chosen.mode, chosen.mx or hosts, chosen.max_age)


def records_for(settings: Settings, domain: str, tlsa: Mapping[str, Sequence[Tlsa]]) -> list[Record]:
    """All records for one domain and the MX hosts. tlsa: host -> its records."""
    return [*_of_domain(settings, domain), *_of_hosts(settings, tlsa)]


def _of_domain(settings: Settings, domain: str) -> Iterator[Record]:
    publish = settings.publish
    ttl = publish.ttl
    for mx in mx_hosts(settings):
        yield Record(domain, ttl, "MX", f"{mx.preference} {mx.host}.", "where mail goes")
    spf = publish.spf or "v=spf1 mx ~all"
    yield Record(domain, ttl, "TXT", quoted(spf), "SPF: name whoever sends for the domain here")
    reports = publish.reports or f"postmaster@{domain}"
    dmarc = publish.dmarc or f"v=DMARC1; p=none; rua=mailto:{reports}"
    yield Record(f"_dmarc.{domain}", ttl, "TXT", quoted(dmarc), "DMARC")
    tls_rpt = f"v=TLSRPTv1; rua=mailto:{reports}"
    yield Record(f"_smtp._tls.{domain}", ttl, "TXT", quoted(tls_rpt), "where senders report TLS failures")
    policy = sts_policy(settings)
    if policy is not None:
        yield Record(f"_mta-sts.{domain}", ttl, "TXT", quoted(policy.record), "MTA-STS: the id changes with the policy")
        yield from _policy_host(settings.mta_sts, domain, ttl)


def _policy_host(chosen: MtaStsSettings | None, domain: str, ttl: int) -> Iterator[Record]:
    if chosen is not None and chosen.host:
        yield Record(f"mta-sts.{domain}", ttl, "CNAME", f"{chosen.host}.", "who serves the policy by HTTPS")


def _of_hosts(settings: Settings, tlsa: Mapping[str, Sequence[Tlsa]]) -> Iterator[Record]:
    ttl = settings.publish.ttl
    for mx in mx_hosts(settings):
        for address in mx.addresses:
            yield Record(mx.host, ttl, "A" if address.version == 4 else "AAAA", str(address), "address of an MX host")
        yield Record(mx.host, ttl, "TXT", quoted("v=spf1 -all"), "no mail comes from the MX host's own name")
        for one in tlsa.get(mx.host, ()):
            yield Record(owner(mx.host), ttl, "TLSA", str(one), "DANE: only where the zone is signed")
        for address in mx.addresses:
            yield Record(address.reverse_pointer, ttl, "PTR", f"{mx.host}.", "reverse name: your provider's zone")


def quoted(text: str) -> str:
    """Character strings of a TXT record: 255 octets at most each."""
    parts = [text[at : at + _STRING] for at in range(0, len(text), _STRING)] or [""]
    return " ".join('"' + part.replace("\\", "\\\\").replace('"', '\\"') + '"' for part in parts)


def zone_text(records: Sequence[Record], notes: Sequence[str] = ()) -> str:
    """A master file (RFC 1035 section 5) with absolute names; notes: lines of comment at its head."""
    lines = [f"; {line}" for line in notes]
    why = ""
    for record in records:
        if record.why != why:
            lines.append(f"; {record.why}")
            why = record.why
        lines.append(str(record))
    return "".join(f"{line}\n" for line in lines)
