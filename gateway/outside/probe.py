"""Every address of every MX host visited several times, and the differences: senders shall find one gateway.

In: places, how often, whom to ask for. Out: what was seen at each place, and lines of a report. A difference between
two connections to one address, or between two addresses, is an error. Nothing is sent.

Known gaps: of ciphers those are compared that come about with each TLS version and each kind of key, not all that a
server would take; certificates are compared among the addresses of one host name only.
"""

from __future__ import annotations

import ssl
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Final

from gateway.outside.report import Line, error, note, ok, unknown, warning
from gateway.outside.visit import Heard, Offer, Place, Question, Visit, visit

OLD: Final = {"TLSv1": ssl.TLSVersion.TLSv1, "TLSv1.1": ssl.TLSVersion.TLSv1_1}
NEW: Final = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
KEYS: Final = {"ecdsa": "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384", "rsa": "ECDHE+aRSA"}
"""Kind of key -> TLS 1.2 ciphers that need one."""
VERBS: Final = ("NOOP", "RSET", "VRFY postmaster", "HELP")
"""Said once to each address."""
SLOW: Final = 5.0
_AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True)
class Plan:
    """How to look. same: recipients asked for in every connection; once: in the first one of each address (label
    ``relay``: one that no gateway of ours may take)."""

    offer: Offer
    connections: int = 3
    same: tuple[Question, ...] = ()
    once: tuple[Question, ...] = ()


@dataclass(frozen=True, slots=True)
class Seen:
    """One place: the visits, and what each TLS version and kind of key came to (a cipher, '' where refused).
    verified: a visit that verified chain and name."""

    place: Place
    visits: tuple[Visit, ...]
    tls: Mapping[str, str]
    certificates: Mapping[str, str]
    verified: Visit | None = None

    @property
    def reached(self) -> Visit | None:
        """The first visit that found somebody."""
        return next((one for one in self.visits if not one.unreachable), None)

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "host": self.place.host,
            "address": self.place.address,
            "port": self.place.port,
            "connections": [one.as_json() for one in self.visits],
            "tls": dict(self.tls),
            "certificates": dict(self.certificates),
            "verified": self.verified is not None and not self.verified.error,
            "latency": self.latency(),
        }

    def latency(self) -> dict[str, float]:
        """Median and worst seconds until the greeting, over the visits."""
        spent = [one.seconds.get("connect", 0.0) + one.seconds["greeting"] for one in self.visits if one.greeting]
        return {"median": round(statistics.median(spent), 4), "worst": round(max(spent), 4)} if spent else {}


def probe(places: Sequence[Place], plan: Plan) -> list[Seen]:
    """Visit all of them. Blocks; not for the event loop."""
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as crew:
        return list(crew.map(lambda place: _look(place, plan), places))


def _look(place: Place, plan: Plan) -> Seen:
    visits = []
    for number in range(plan.connections):
        first = number == 0
        offer = replace(plan.offer, verbs=VERBS) if first else plan.offer
        seen = visit(place, offer, (*plan.same, *(plan.once if first else ())))
        visits.append(seen)
        if seen.unreachable:
            break
    tls: dict[str, str] = {}
    certificates: dict[str, str] = {}
    verified = None
    if any(one.starttls and one.starttls.code == 220 for one in visits):
        for name, version in (OLD | NEW).items():
            other = visit(place, replace(plan.offer, version=version))
            tls[name] = other.tls.cipher if other.tls else ""
        for kind, ciphers in KEYS.items():
            other = visit(place, replace(plan.offer, version=ssl.TLSVersion.TLSv1_2, ciphers=ciphers))
            if other.tls:
                certificates[kind] = other.tls.fingerprint
        verified = visit(place, replace(plan.offer, verify=True))
    return Seen(place, tuple(visits), tls, certificates, verified)


def judged(found: Sequence[Seen], slow: float = SLOW) -> list[Line]:
    """The report: each place alone, each place's connections among each other, and all places among each other."""
    lines: list[Line] = []
    for seen in found:
        lines += alone(seen, slow)
        lines += between_connections(seen)
    lines += between_places(found)
    return lines


def alone(seen: Seen, slow: float = SLOW) -> Iterator[Line]:
    """What one place is like."""
    where = _where(seen)
    for one in seen.visits:
        if one.unreachable:
            yield unknown("connection", where, one.error)
        elif one.error:
            yield error("connection", where, one.error)
    first = seen.reached
    if first is None or first.greeting is None:
        return
    yield ok("greeting", where, str(first.greeting))
    yield ok("ehlo", where, " ".join(first.words))
    if first.tls:
        yield ok("tls", where, f"{first.tls.version} {first.tls.cipher}, certificate {first.tls.fingerprint[:16]}")
    elif first.starttls is None:
        yield warning("tls", where, "STARTTLS is not offered")
    for name in OLD:
        if seen.tls.get(name):
            yield warning("tls", where, f"{name} is accepted ({seen.tls[name]}); RFC 8996 ends it")
    if seen.verified is not None and seen.verified.handshake_error:
        yield note("certificate", where, f"senders that verify refuse it: {seen.verified.handshake_error}")
    for label, heard in first.answers.items():
        if label != "relay":
            yield ok(label, where, str(heard))
        elif heard.code // 100 == 2:
            yield error("relay", where, f"OPEN RELAY: takes mail for a domain that is not ours ({heard})")
        else:
            yield ok("relay", where, f"closed: {heard}")
    yield ok("verbs", where, _verbs(first))
    latency = seen.latency()
    text = f"greeting after {latency['median']:.3f} s, at worst {latency['worst']:.3f} s"
    yield (warning if latency["worst"] > slow else ok)("latency", where, text)


Aspect = Callable[[Visit], str]


def _greeting(one: Visit) -> str:
    if one.greeting is None:
        return ""
    # the name is the node's own; the rest is the gateway's
    return f"{one.greeting.code} {' '.join(one.greeting.lines).partition(' ')[2]}"


def _verbs(one: Visit) -> str:
    return ", ".join(f"{verb} {heard.code}" for verb, heard in one.verbs.items())


def _answer(label: str) -> Aspect:
    def of(one: Visit) -> str:
        heard: Heard | None = one.answers.get(label)
        return heard.likeness if heard else ""

    return of


def _aspects(labels: Sequence[str]) -> dict[str, Aspect]:
    found: dict[str, Aspect] = {
        "greeting": _greeting,
        "ehlo": lambda one: " ".join(one.words),
        "ehlo behind TLS": lambda one: " ".join(one.words_tls),
        "starttls": lambda one: str(one.starttls.code) if one.starttls else "",
        "tls version": lambda one: one.tls.version if one.tls else "",
        "tls cipher": lambda one: one.tls.cipher if one.tls else "",
    }
    return found | {f"answer for {label}": _answer(label) for label in labels}


def between_connections(seen: Seen) -> Iterator[Line]:
    """One address must be one gateway, however often it is asked."""
    reached = [one for one in seen.visits if not one.unreachable]
    labels = [label for label in (reached[0].answers if reached else ()) if all(label in v.answers for v in reached)]
    aspects = _aspects(labels) | {
        "name": lambda one: one.greeting.lines[0].partition(" ")[0] if one.greeting else "",
        "certificate": lambda one: one.tls.fingerprint[:16] if one.tls else "",
    }
    for name, aspect in aspects.items():
        values = list(dict.fromkeys(aspect(one) for one in reached))
        if len(values) > 1 and name == "name":
            # nodes behind one address may say who they are
            yield note("connections", _where(seen), f"different names: {_shown(values)}")
        elif len(values) > 1:
            yield error("connections", _where(seen), f"{name} differs between connections: {_shown(values)}")


def between_places(found: Sequence[Seen]) -> Iterator[Line]:
    """All addresses must look alike; certificates among the addresses of one host."""
    reached = [(seen, seen.reached) for seen in found]
    there = [(seen, one) for seen, one in reached if one is not None]
    if len(there) < 2:
        return
    labels = dict.fromkeys(label for _, one in there for label in one.answers)
    alike = True
    for name, aspect in (_aspects(list(labels)) | {"verbs": _verbs}).items():
        lines = list(_differing(name, [(_where(seen), aspect(one)) for seen, one in there]))
        alike = alike and not lines
        yield from lines
    for version in OLD | NEW:
        lines = list(_differing(version, [(_where(seen), seen.tls.get(version, "")) for seen, _ in there]))
        alike = alike and not lines
        yield from lines
    lines = list(_differing("kinds of key", [(_where(seen), " ".join(seen.certificates)) for seen, _ in there]))
    for host in dict.fromkeys(seen.place.host for seen, _ in there):
        same = [(_where(seen), seen.certificates) for seen, _ in there if seen.place.host == host]
        for kind in KEYS:
            shown = [(where, certificates.get(kind, "")[:16]) for where, certificates in same]
            lines += _differing(f"{kind} certificate of {host}", shown)
    yield from lines
    if alike and not lines:
        yield ok("addresses", f"{len(there)} addresses", "all alike")


def _differing(name: str, values: Sequence[tuple[str, str]]) -> Iterator[Line]:
    by_value: dict[str, list[str]] = {}
    for where, value in values:
        by_value.setdefault(value, []).append(where)
    if len(by_value) > 1:
        text = "; ".join(f"{value or 'none'} at {', '.join(at)}" for value, at in by_value.items())
        yield error("addresses", name, f"differs: {text}")


def _shown(values: Sequence[str]) -> str:
    return " | ".join(value or "none" for value in values)


def _where(seen: Seen) -> str:
    if seen.place.host == seen.place.address:
        return str(seen.place)
    return f"{seen.place.host} {seen.place}"
