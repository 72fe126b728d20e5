"""What a rule may speak of: for each check its outcomes and facts with their favourable and unfavourable ends.

One entry a check of ``gateway.checks.CHECKS`` (a test compares them). Outcomes and words stand from most favourable
to least, because ``decide`` answers for what is unknown at both ends and ``load`` refuses conditions that are not
monotone. Facts that have no such direction (the greylisting state, an SPF identity) are evidence, not conditions.

Known gaps: none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from math import inf

from gateway.mail.finding import Outcome
from gateway.mail.phase import Phase

FAVOUR: tuple[Outcome, ...] = (
    Outcome.PASS,
    Outcome.NONE,
    Outcome.NEUTRAL,
    Outcome.POLICY,
    Outcome.SOFTFAIL,
    Outcome.PERMERROR,
    Outcome.FAIL,
)
"""Every outcome but temperror, from most favourable to least, as most checks have it."""


class End(Enum):
    """How an unknown finding is looked at: most favourable, least favourable, or as if the check had not run."""

    BEST = "best"
    WORST = "worst"
    ABSENT = "absent"


FactValue = float | bool | str


@dataclass(frozen=True, slots=True)
class FactKind:
    """A fact of a finding's evidence. values: all words or truth values in order of favour, () for a number (where
    less is better). absent: its value where the finding or the fact is missing. settled: what the evidence of a
    temperror says of it is certain (a published policy), not just what was found so far (a score, a broken chain)."""

    values: tuple[FactValue, ...]
    best: FactValue
    worst: FactValue
    absent: FactValue
    meaning: str
    settled: bool = False

    @property
    def is_number(self) -> bool:
        """True for numbers, False for words and truth values."""
        return not self.values

    def at(self, end: End) -> FactValue:
        """The value at that end."""
        return self.best if end is End.BEST else self.worst if end is End.WORST else self.absent


def _number(absent: float, meaning: str) -> FactKind:
    return FactKind((), -inf, inf, absent, meaning)


def _choice(values: tuple[FactValue, ...], absent: FactValue, meaning: str, settled: bool) -> FactKind:
    return FactKind(values, values[0], values[-1], absent, meaning, settled)


@dataclass(frozen=True, slots=True)
class CheckWords:
    """phase: from which rules may speak of it. port: '' for none. outcomes: those it can have, without temperror."""

    phase: Phase
    port: str
    outcomes: tuple[Outcome, ...]
    facts: Mapping[str, FactKind] = field(default_factory=dict)

    def outcome_at(self, end: End) -> Outcome:
        """The outcome at that end; a check that did not run counts as none."""
        if end is End.ABSENT:
            return Outcome.NONE
        return self.outcomes[0] if end is End.BEST else self.outcomes[-1]


def _but(*left_out: Outcome) -> tuple[Outcome, ...]:
    return tuple(outcome for outcome in FAVOUR if outcome not in left_out)


_PLAIN = (Outcome.PASS, Outcome.NONE, Outcome.FAIL)

VOCABULARY: Mapping[str, CheckWords] = {
    "block": CheckWords(Phase.CONNECT, "", _PLAIN),
    "iprev": CheckWords(
        Phase.CONNECT,
        "dns",
        (Outcome.PASS, Outcome.NONE, Outcome.PERMERROR, Outcome.FAIL),
        {"generic": _choice((False, True), False, "the reverse name looks like one of a dial-up pool", True)},
    ),
    "dnsbl": CheckWords(
        Phase.CONNECT,
        "dns",
        (Outcome.PASS, Outcome.NONE, Outcome.NEUTRAL, Outcome.POLICY, Outcome.FAIL),
        {"score": _number(0.0, "sum of the weights of all lists that hold the client")},
    ),
    # facts only; rules speak of them as client.asn and client.country
    "asn": CheckWords(Phase.CONNECT, "dns", (Outcome.NONE,)),
    "rate": CheckWords(Phase.CONNECT, "store", _PLAIN),
    "pregreet": CheckWords(Phase.HELO, "", _PLAIN),
    "helo": CheckWords(
        Phase.HELO,
        "dns",
        # a name that resolves, though not to the client, is better than one that does not
        (Outcome.PASS, Outcome.NEUTRAL, Outcome.NONE, Outcome.POLICY, Outcome.PERMERROR, Outcome.FAIL),
    ),
    "spf": CheckWords(Phase.MAIL, "dns", FAVOUR),
    "reputation": CheckWords(
        Phase.MAIL,
        "store",
        (Outcome.PASS, Outcome.NONE, Outcome.NEUTRAL, Outcome.FAIL),
        {"score": _number(0.0, "from -10 (good) to 10 (bad): what verdicts have taught")},
    ),
    "recipient": CheckWords(
        Phase.RCPT,
        "mailstore",
        # policy: it may exist or not, this client is not told any more; certainly unknown is worse
        (Outcome.PASS, Outcome.NONE, Outcome.NEUTRAL, Outcome.POLICY, Outcome.FAIL),
        {
            "unknown": _number(0.0, "unknown recipients that the client's network has asked for in the window"),
            "excess": _number(0.0, "how many of them are above recipient.unknown_limit"),
        },
    ),
    "greylist": CheckWords(Phase.RCPT, "store", _PLAIN),
    "external_relay": CheckWords(Phase.CONTENT, "", (Outcome.PASS, Outcome.NONE, Outcome.NEUTRAL)),
    "loop": CheckWords(Phase.CONTENT, "", _PLAIN),
    "dkim": CheckWords(
        Phase.CONTENT,
        "dns",
        _but(Outcome.SOFTFAIL),
        {"short_key": _choice((False, True), False, "each pass rests on an RSA key of less than 2,048 bits", False)},
    ),
    "arc": CheckWords(
        Phase.CONTENT,
        "dns",
        (Outcome.PASS, Outcome.NONE, Outcome.NEUTRAL, Outcome.POLICY, Outcome.PERMERROR, Outcome.FAIL),
        {"trusted": _choice((True, False), False, "a sealer of arc.trusted_sealers vouches for the message", False)},
    ),
    "forwarder": CheckWords(Phase.CONTENT, "dns", (Outcome.PASS, Outcome.NONE)),
    "dmarc": CheckWords(
        Phase.CONTENT,
        "dns",
        (Outcome.PASS, Outcome.NONE, Outcome.POLICY, Outcome.PERMERROR, Outcome.FAIL),
        {"policy": _choice(("none", "quarantine", "reject"), "none", "what the author domain asks for", True)},
    ),
}

SUBJECTS: Mapping[str, Phase] = {
    "client": Phase.CONNECT,
    "client.asn": Phase.CONNECT,
    "client.country": Phase.CONNECT,
    "helo_name": Phase.HELO,
    "tls": Phase.MAIL,  # before MAIL a client may still be on its way to STARTTLS
    "reverse_path_domain": Phase.MAIL,
    "recipient": Phase.RCPT,
    "recipient_domain": Phase.RCPT,
}
"""What a rule may say of the transaction itself -> the first phase at which it is known."""

PORTS: tuple[str, ...] = ("dns", "store", "mailstore")
