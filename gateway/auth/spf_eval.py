"""SPF (RFC 7208) as a dialogue without I/O: it asks a question, gets an answer, and ends with a result.

pyspf evaluates; it calls for DNS in the middle of its recursion, so it runs in a greenlet of its own and its one DNS
hook hands each question out. Limits of section 4.6.4 are pyspf's: 10 terms, 2 void look-ups, 10 MX and PTR names.
Ours: a failing PTR look-up is "no match" (section 5.5), ``exp=`` is never fetched (the text is the domain owner's
and goes nowhere), a name of one label has no policy (section 4.3), ``redirect=`` counts where it is followed and
not where it is read, and is known in any case.

    step = evaluation.start()
    while isinstance(step, SpfQuestion): step = evaluation.answered(...) or evaluation.unanswered(...)

Known gaps: none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Literal

import greenlet
import spf

from gateway.mail.address import NULL, AddressError, ReversePath, parse_domain
from gateway.mail.finding import Outcome

Identity = Literal["mailfrom", "helo"]
MAX_RECORD_OCTETS = 8192
"""Section 3.4 asks for 450 and less; the longest records in use have some 4,000."""
MAX_TERM_OCTETS = 512
"""No domain is longer than 253 octets; pyspf's time to expand macros grows with the square of a term."""


@dataclass(frozen=True, slots=True)
class SpfQuestion:
    """What the evaluation must know to go on: all records of a type (A, AAAA, TXT, MX, PTR) at a name."""

    name: str
    rtype: str


@dataclass(frozen=True, slots=True)
class SpfResult:
    """outcome; the identity and the domain that were checked; the mechanism that matched ('' for the default result),
    as written; look-ups that count for the limit; the problem behind permerror and temperror."""

    outcome: Outcome
    identity: Identity
    domain: str
    mechanism: str = ""
    lookups: int = 0
    problem: str = ""


def identity_of(reverse_path: ReversePath, hello: str) -> tuple[Identity, str, str]:
    """Which identity is checked (section 2.4), its local part and domain ('' where there is no domain name).

    The null reverse-path stands for postmaster at the EHLO name."""
    if reverse_path is not NULL:
        # section 4.3: no local part stands for postmaster
        domain = "" if reverse_path.is_literal else reverse_path.domain
        return "mailfrom", reverse_path.local_part or "postmaster", domain
    try:
        return "helo", "postmaster", parse_domain(hello)
    except AddressError:
        return "helo", "postmaster", ""


class SpfEvaluation:
    """One check_host() run (section 4). Not to be shared between threads; ``close`` it when it is left early."""

    def __init__(
        self, client: IPv4Address | IPv6Address, reverse_path: ReversePath, hello: str, now: float = 0.0
    ) -> None:
        self.identity, local_part, self.domain = identity_of(reverse_path, hello)
        self._query: Any = _Query(str(client), f"{local_part}@{self.domain}", hello)
        # set by hand: pyspf splits at the first @, which may stand in a quoted local part
        self._query.l, self._query.o, self._query.d = local_part, self.domain, self.domain
        self._query.t = str(int(now))
        self._run = greenlet.greenlet(self._query.check)

    def start(self) -> SpfQuestion | SpfResult:
        """Run up to the first question, or to the end."""
        if "." not in self.domain:
            return SpfResult(Outcome.NONE, self.identity, self.domain)
        return self._switch()

    def answered(self, records: Sequence[str]) -> SpfQuestion | SpfResult:
        """Go on with the records of the last question, in the words of ``ports.dns.Answer``; () for "there is none"."""
        return self._switch(records)

    def unanswered(self, problem: str) -> SpfQuestion | SpfResult:
        """Go on without an answer: the DNS failed."""
        self._run.parent = greenlet.getcurrent()
        return self._step(self._run.throw(spf.TempError(problem)))

    def close(self) -> None:
        """Unwind; harmless at any time."""
        if not self._run.dead:
            self._run.parent = greenlet.getcurrent()
            self._run.throw()

    def _switch(self, *values: Any) -> SpfQuestion | SpfResult:
        # a greenlet returns to its parent, which must be whoever calls now
        self._run.parent = greenlet.getcurrent()
        return self._step(self._run.switch(*values))

    def _step(self, out: Any) -> SpfQuestion | SpfResult:
        if isinstance(out, SpfQuestion):
            return out
        query = self._query
        outcome = Outcome(out[0])
        failed = outcome in (Outcome.PERMERROR, Outcome.TEMPERROR)
        return SpfResult(
            outcome,
            self.identity,
            self.domain,
            "" if failed or not query.mechanism else str(query.mechanism),
            int(query.lookups),
            _printable(out[2].partition(": ")[2]) if failed else "",
        )


def _printable(text: str) -> str:
    # the text quotes the domain owner's record
    return "".join(char if char.isascii() and char.isprintable() else "?" for char in text)[:200]


_MODIFIER = re.compile(r"(?:^|(?<= ))(?:redirect|exp)=", re.IGNORECASE)


class _Query(spf.query):  # type: ignore[misc]
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._reading: list[list[int]] = []
        """Records in work, innermost last: depth of includes, and calls to ``check_lookups`` that only mean that a
        redirect= was read."""

    def check0(self, record: str | None, recursion: int) -> Any:
        """Evaluate one record."""
        text = _MODIFIER.sub(lambda match: match[0].lower(), record or "")
        self._reading.append([recursion, sum(term.startswith("redirect=") for term in text.split(" "))])
        try:
            return super().check0(text, recursion)
        finally:
            self._reading.pop()

    def check1(self, record: str | None, domain: str, recursion: int) -> Any:
        """Begin a record: the first, an include's (one level down) or a redirect's (on the same level)."""
        if self._reading and self._reading[-1][0] == recursion:
            super().check_lookups()
        return super().check1(record, domain, recursion)

    def check_lookups(self) -> None:
        """Count a term that asks DNS (section 4.6.4)."""
        if self._reading and self._reading[-1][1]:
            self._reading[-1][1] -= 1
            return
        super().check_lookups()

    def get_explanation(self, spec: str) -> None:  # noqa: ARG002
        return None

    def log(self, *args: object) -> None:
        """Pyspf prints here."""

    def validated_ptrs(self) -> list[str]:
        """Names of the client that map back to it, ten at most; a failing look-up counts as no match (section 5.5)."""
        try:
            names = self.dns_ptr(self.i)
        except spf.TempError:
            return []
        return [name for name in names[: spf.MAX_PTR] if self._maps_back(name)]

    def _maps_back(self, name: str) -> bool:
        try:
            return bool(self.cidrmatch(self.dns_a(name, self.A), self.cidrmax))
        except spf.TempError:
            return False


def _lookup(name: str, rtype: str, strict: Any, timeout: Any) -> list[tuple[tuple[str, str], Any]]:  # noqa: ARG001
    parent = greenlet.getcurrent().parent
    if parent is None:
        raise spf.TempError("SPF outside of an evaluation")
    records = parent.switch(SpfQuestion(name, rtype))
    if rtype == "TXT" and any(_too_long(record) for record in records):
        raise spf.PermError("the record is too long")
    return [((name, rtype), _rdata(record, rtype)) for record in records]


def _too_long(record: str) -> bool:
    if len(record) <= MAX_TERM_OCTETS or record[:6].lower() != "v=spf1":
        return False
    return len(record) > MAX_RECORD_OCTETS or any(len(term) > MAX_TERM_OCTETS for term in record.split(" "))


def _rdata(record: str, rtype: str) -> Any:
    match rtype:
        case "TXT":
            return (record.encode("latin-1"),)
        case "MX":
            preference, _, exchange = record.partition(" ")
            return (int(preference), exchange.rstrip("."))
        case _:
            return record


# pyspf's only door to the DNS is this module-level name
spf.DNSLookup = _lookup
