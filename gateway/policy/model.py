"""A policy as a value: rules, postures for what is out, settings of the checks, profiles of recipient domains.

Built by ``policy.load`` only, which refuses what must not be; frozen afterwards. A transaction keeps the policy it
began with.

Known gaps: a profile cannot add rules, only switch off, change mode, postures and check settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network

from gateway.mail.finding import Outcome
from gateway.mail.phase import Phase
from gateway.mail.verdict import Action
from gateway.policy.settings import ChecksSettings, ContentSettings


class Mode(StrEnum):
    """enforce: do what the verdict says. observe: record it and let the mail through."""

    ENFORCE = "enforce"
    OBSERVE = "observe"


class Posture(StrEnum):
    """What to do where a missing answer would have decided."""

    DEFER = "defer"
    PROCEED = "proceed"
    QUARANTINE = "quarantine"


@dataclass(frozen=True, slots=True)
class OutcomeIs:
    """``dmarc: fail`` or ``spf: [fail, permerror]``."""

    check: str
    outcomes: frozenset[Outcome]


@dataclass(frozen=True, slots=True)
class FactCompares:
    """``dnsbl.score: ">= 5"``: operator is one of >= > <= < (numbers)."""

    check: str
    fact: str
    operator: str
    number: float


@dataclass(frozen=True, slots=True)
class FactIs:
    """``dmarc.policy: reject``, ``arc.trusted: false``: one of these words or truth values."""

    check: str
    fact: str
    values: frozenset[str | bool]


@dataclass(frozen=True, slots=True)
class ClientIn:
    """``client: [192.0.2.0/24]``: the client's address. Never true where the address is not known."""

    networks: tuple[IPv4Network | IPv6Network, ...]


@dataclass(frozen=True, slots=True)
class OriginIs:
    """``client.asn: [64496]``, ``client.country: [DE]``: one of what the check found. No origin is better than another,
    so an unknown one is on the side of the rule: a favour's at the favourable end, a refusal's at the other."""

    check: str
    fact: str
    values: frozenset[str]


@dataclass(frozen=True, slots=True)
class TextMatches:
    """``reverse_path_domain``, ``recipient``, ``recipient_domain``, ``helo_name``: one of these globs, case-blind."""

    subject: str
    patterns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TlsIs:
    """``tls: false``: whether the session is encrypted."""

    encrypted: bool


Condition = OutcomeIs | FactCompares | FactIs | ClientIn | OriginIs | TextMatches | TlsIs


@dataclass(frozen=True, slots=True)
class Rule:
    """All conditions true: the rule hits. id: unique, stands in records. reason: key of the reply table.

    An accept rule takes out hits of rules whose phase lies between ``at`` and ``through``, save firm ones."""

    id: str
    at: Phase
    when: tuple[Condition, ...]
    then: Action
    reason: str
    through: Phase
    firm: bool = False


@dataclass(frozen=True, slots=True)
class Profile:
    """The policy as it stands for some recipient domains; ``default`` is the file's own.

    posture: by check name, with the port's posture already filled in."""

    name: str
    domains: tuple[str, ...]
    mode: Mode
    rules: tuple[Rule, ...]
    checks: ChecksSettings
    content: ContentSettings
    posture: Mapping[str, Posture]


@dataclass(frozen=True, slots=True)
class Policy:
    """A whole policy. digest: hexadecimal SHA-256 over its parsed and defaulted form, not the file's bytes; the first
    eight digits stand in records, replies never show it. text: of the file, where it is to be handed on."""

    version: int
    digest: str
    default: Profile
    profiles: tuple[Profile, ...] = ()
    source: str = ""
    text: str = field(default="", compare=False, repr=False)

    def for_domain(self, domain: str) -> Profile:
        """The profile of a recipient domain: exact name first, then the longest ``*.wildcard``, else the default."""
        best: tuple[int, Profile] | None = None
        for profile in self.profiles:
            for pattern in profile.domains:
                if pattern == domain:
                    return profile
                covers = pattern.startswith("*.") and domain.endswith(pattern[1:])
                if covers and (best is None or len(pattern) > best[0]):
                    best = (len(pattern), profile)
        return best[1] if best else self.default
