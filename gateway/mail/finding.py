"""What a check found: an outcome in the words of RFC 8601 section 2.7, a reason and the evidence.

A finding is not an action: nothing here says what to do about it. ``temperror`` means "we do not know" and always
carries the :class:`Cause`; a timeout, a dead server and a crash inside a check are the same kind of fact.

Known gaps: none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

Fact = str | int | float | bool | tuple[str, ...]
"""A value of evidence: JSON-able, hashable, what a person would quote."""


class Outcome(StrEnum):
    """The result words of RFC 8601 section 2.7, and nothing else."""

    PASS = "pass"  # noqa: S105 - a result word, not a password
    NONE = "none"
    NEUTRAL = "neutral"
    POLICY = "policy"
    SOFTFAIL = "softfail"
    PERMERROR = "permerror"
    FAIL = "fail"
    TEMPERROR = "temperror"


class Why(StrEnum):
    """How a port let us down. Closed: it is a metric label."""

    TIMEOUT = "timeout"
    REFUSED = "refused"  # connection refused, or the server said no
    OVERLOAD = "overload"  # breaker open, pool exhausted
    PROTOCOL = "protocol"  # an answer that cannot be read, SERVFAIL included
    BUDGET = "budget"  # the check's own time ran out
    CRASH = "crash"  # a bug of ours


@dataclass(frozen=True, slots=True)
class Cause:
    """Why something is unknown: the port, how it failed, and a detail for the operator (never for the client)."""

    port: str
    why: Why
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.port}: {self.why}" + (f" ({self.detail})" if self.detail else "")


_NO_EVIDENCE: Mapping[str, Fact] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check says about one transaction.

    check: name in the table ``gateway.checks.CHECKS``.
    reason: a short word of the operator's language from the check's own closed list (``listed``, ``no-record``).
    evidence: facts that policies may test and people quote; names are listed in ``gateway.policy.vocabulary``.
    cause: set if and only if the outcome is temperror.
    """

    check: str
    outcome: Outcome
    reason: str
    evidence: Mapping[str, Fact] = field(default_factory=lambda: _NO_EVIDENCE)
    cause: Cause | None = None

    def __post_init__(self) -> None:
        if (self.cause is not None) != (self.outcome is Outcome.TEMPERROR):
            raise ValueError(f"{self.check}: temperror and a cause go together")

    @classmethod
    def unknown(cls, check: str, cause: Cause, evidence: Mapping[str, Fact] = _NO_EVIDENCE) -> Finding:
        """The finding "we could not find out", with its cause."""
        return cls(check, Outcome.TEMPERROR, cause.why.value, evidence, cause)


@dataclass(frozen=True, slots=True)
class DkimSignature:
    """One DKIM-Signature field's result (RFC 6376 section 6.1), as Authentication-Results will show it."""

    outcome: Outcome
    reason: str
    domain: str = ""  # d=, A-label, lower case
    selector: str = ""  # s=
    identity: str = ""  # i=, as given ('' when absent)
    algorithm: str = ""  # a=
    b_prefix: str = ""  # the first octets of b= (RFC 6008)
    key_bits: int = 0
    testing: bool = False  # t=y in the key record
    partial: bool = False  # l= left content unsigned


@dataclass(frozen=True, slots=True)
class DkimFinding(Finding):
    """All signatures of a message. ``outcome`` is the best one's."""

    signatures: tuple[DkimSignature, ...] = ()
