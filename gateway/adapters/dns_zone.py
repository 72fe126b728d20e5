"""An honest resolver without a network: answers from one master file (RFC 1035 section 5) with any domains in it.

Names in the file are absolute (a missing trailing dot means the root as origin; ``$ORIGIN`` and ``$TTL`` work). Trouble
is part of the file: ``;; SERVFAIL name [type]`` and ``;; TIMEOUT name [type]`` make such questions fail; the name may
be ``*.below.it``. CNAMEs are followed, wildcards work as in RFC 4592, an empty non-terminal is "no data". Used by tests
and by ``mxgw explain --zone``.

Known gaps: no zone cuts, no DNAME, no DNSSEC (ad is never set).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import dns.exception
import dns.name
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import dns.tokenizer
import dns.zonefile

from gateway.adapters.dns_names import RTYPES, plain, question, rdata_text
from gateway.mail.finding import Why
from gateway.ports.dns import Answer, Status
from gateway.ports.failure import PortFailure

_TROUBLE = re.compile(r"^;;\s*(SERVFAIL|TIMEOUT)\s+(\S+)(?:\s+(\w+))?\s*$", re.MULTILINE)
_WHY = {"SERVFAIL": Why.PROTOCOL, "TIMEOUT": Why.TIMEOUT}
_MAX_ALIASES = 16
_DEFAULT_TTL = 300

Records = dict[str, dict[str, tuple[tuple[str, ...], int]]]
Trouble = dict[tuple[str, str], str]


class ZoneResolver:
    """``ports.dns.Resolver`` over a master file's text."""

    def __init__(self, records: Records, trouble: Trouble) -> None:
        self._records = records
        self._trouble = trouble
        self._names = set(_with_ancestors(records))

    @classmethod
    def from_text(cls, text: str) -> ZoneResolver:
        """Read a master file. Raises ValueError, with the line, where it cannot be read."""
        records: Records = {}
        try:
            rrsets = _read(text)
        except (dns.exception.DNSException, ValueError) as error:
            raise ValueError(f"zone file: {error}") from error
        for rrset in rrsets:
            rtype = dns.rdatatype.to_text(rrset.rdtype)
            if rtype in RTYPES:
                values = tuple(rdata_text(rdata, rtype) for rdata in rrset)
                types = records.setdefault(plain(rrset.name).lower(), {})
                earlier = types.get(rtype, ((), rrset.ttl))[0]
                types[rtype] = (earlier + values, rrset.ttl)
            else:
                records.setdefault(plain(rrset.name).lower(), {})
        trouble = {
            (name.removesuffix(".").lower(), (rtype or "").upper()): kind
            for kind, name, rtype in _TROUBLE.findall(text)
        }
        return cls(records, trouble)

    @classmethod
    def from_file(cls, path: Path) -> ZoneResolver:
        """Read a master file from disk. Raises OSError, ValueError."""
        return cls.from_text(Path(path).read_text(encoding="utf-8"))

    async def lookup(self, name: str, rtype: str) -> Answer:
        """Answer from the file. Raises PortFailure where the file says so, or for a loop of aliases (protocol)."""
        asked = question(name)
        if asked is None:
            return Answer(Status.NXDOMAIN)
        ttl = 2**31
        for _ in range(_MAX_ALIASES):
            self._fail(asked, rtype)
            types = self._at(asked)
            if types is None:
                return Answer(Status.NXDOMAIN)
            if rtype in types:
                records, own_ttl = types[rtype]
                return Answer(Status.OK, records, min(ttl, own_ttl))
            if "CNAME" not in types:
                return Answer(Status.NODATA)
            (asked, *_more), own_ttl = types["CNAME"]
            ttl = min(ttl, own_ttl)
        raise PortFailure("dns", Why.PROTOCOL, f"{name} {rtype}: CNAME loop")

    async def close(self) -> None:
        """Nothing is open."""

    def _at(self, name: str) -> dict[str, tuple[tuple[str, ...], int]] | None:
        if name in self._records:
            return self._records[name]
        if name in self._names:
            return {}
        encloser = name
        while encloser:
            _, _, encloser = encloser.partition(".")
            if not encloser or encloser in self._names:
                # only the wildcard at the closest encloser counts (RFC 4592 section 3.3.1)
                return self._records.get(f"*.{encloser}" if encloser else "*")
        return None

    def _fail(self, name: str, rtype: str) -> None:
        for owner in (name, *(f"*.{parent}" for parent in _parents(name))):
            kind = self._trouble.get((owner, rtype)) or self._trouble.get((owner, ""))
            if kind:
                raise PortFailure("dns", _WHY[kind], f"{name} {rtype}: {kind}")


def _read(text: str) -> list[dns.rrset.RRset]:
    # dns.zonefile.read_rrsets does the same, but knows neither $ORIGIN nor $TTL
    manager = dns.zonefile.RRSetsReaderManager(origin=dns.name.root, relativize=False)
    with manager.writer(True) as transaction:  # type: ignore[no-untyped-call]
        tokens = dns.tokenizer.Tokenizer(text, "line")
        dns.zonefile.Reader(
            tokens,
            dns.rdataclass.IN,
            transaction,
            allow_directives={"$ORIGIN", "$TTL"},
            default_ttl=_DEFAULT_TTL,
        ).read()
    return manager.rrsets


def _parents(name: str) -> Iterable[str]:
    while "." in name:
        name = name.partition(".")[2]
        yield name


def _with_ancestors(names: Iterable[str]) -> Iterable[str]:
    for name in names:
        yield name
        yield from _parents(name)
