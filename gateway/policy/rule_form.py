"""One rule of a policy file becomes a :class:`Rule`; everything that is wrong with it is gathered.

The three questions of a condition: does the word exist, is it known at the rule's phase, and does it look the right
way. A refusal must hold for everything less favourable too, an accept rule for everything more favourable; otherwise
the two ends of what is unknown would not bound the truth.

Known gaps: a glob that can never match is not noticed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import ip_network

from gateway.mail.finding import Outcome
from gateway.mail.phase import Phase
from gateway.mail.reply import REPLIES
from gateway.mail.verdict import Action
from gateway.policy.model import (
    ClientIn,
    Condition,
    FactCompares,
    FactIs,
    OriginIs,
    OutcomeIs,
    Rule,
    TextMatches,
    TlsIs,
)
from gateway.policy.schema import RuleForm
from gateway.policy.vocabulary import FAVOUR, SUBJECTS, VOCABULARY, CheckWords, FactKind, FactValue
from gateway.yamlfile import Data, Document, Fault, Key, did_you_mean

_AS_NUMBER = re.compile(r"(?:AS)?(0|[1-9][0-9]{0,9})", re.IGNORECASE)
_COMPARISON = re.compile(r"(>=|<=|>|<)\s*(-?\d+(?:\.\d+)?)")
_REJECT_REASON = {
    "dmarc": "auth-policy",
    "spf": "spf-policy",
    "dkim": "dkim-policy",
    "dnsbl": "dnsbl",
    "helo": "helo-policy",
    "helo_name": "helo-policy",
    "iprev": "ptr-policy",
    "recipient": "recipient-unknown",
    "loop": "loop",
    "pregreet": "early-talker",
    "tls": "tls-required",
}
_CLASS = {Action.ACCEPT: 2, Action.QUARANTINE: 2, Action.DEFER: 4, Action.REJECT: 5}


class RuleReader:
    """Reads one rule at ``path`` of the document and appends what is wrong to ``faults``."""

    def __init__(self, document: Document, path: tuple[Key, ...], faults: list[Fault]) -> None:
        self.document = document
        self.path = path
        self.faults = faults
        self.accepting = False
        self.at = Phase.CONNECT

    def read(self, form: RuleForm) -> Rule | None:
        """The rule, or None where it has faults."""
        before = len(self.faults)
        action = Action[form.then.upper()]
        self.accepting, self.at = action is Action.ACCEPT, form.at
        conditions = [self._condition(key, value) for key, value in form.when.items()]
        reason = self._reason(form, action)
        through = self._through(form)
        if len(self.faults) > before:
            return None
        when = tuple(condition for condition in conditions if condition is not None)
        return Rule(form.id, form.at, when, action, reason, through, form.firm)

    def _fault(self, where: Sequence[Key], problem: str, remedy: str = "") -> None:
        self.faults.append(self.document.fault((*self.path, *where), problem, remedy))

    def _through(self, form: RuleForm) -> Phase:
        if form.firm and self.accepting:
            self._fault(["firm"], "an accept rule cannot be firm", "put firm on the rule that must stay")
        if form.through is None:
            return form.at
        if not self.accepting:
            self._fault(["through"], "only an accept rule reaches over phases", "leave it out")
        elif form.through.order < form.at.order:
            self._fault(["through"], f"{form.through} comes before {form.at}", f"name {form.at} or a later phase")
        return form.through

    def _reason(self, form: RuleForm, action: Action) -> str:
        if form.reason is None:
            return self._default_reason(form, action)
        fitting = sorted(reason for reason, row in REPLIES.items() if row.code // 100 == _CLASS[action])
        if action in (Action.ACCEPT, Action.QUARANTINE):
            fitting = ["accepted"]
        if form.reason not in REPLIES:
            self._fault(["reason"], f"there is no reply '{form.reason}'", did_you_mean(form.reason, fitting))
        elif form.reason not in fitting:
            row = REPLIES[form.reason]
            problem = f"'{form.reason}' is a {row.code} reply and does not fit {form.then}"
            self._fault(["reason"], problem, f"use one of: {', '.join(fitting)}")
        return form.reason

    def _default_reason(self, form: RuleForm, action: Action) -> str:
        subjects = {
            key.partition(".")[0]
            for key, value in form.when.items()
            if key != "recipient" or self._speaks_of_outcomes(value)
        }
        if action is Action.REJECT:
            # by the table's order, not the rule's: the order of conditions decides nothing
            return next((reason for word, reason in _REJECT_REASON.items() if word in subjects), "blocked")
        if action is Action.DEFER:
            if "greylist" in subjects:
                return "greylisted"
            if "rate" in subjects:
                return "rate-connect" if form.at is Phase.CONNECT else "rate"
            return "local-policy-defer"
        return "accepted"

    def _condition(self, key: str, value: Data) -> Condition | None:
        check, dot, fact = key.partition(".")
        words = VOCABULARY.get(check)
        # "recipient" is a check and a subject: outcome words speak of the check
        if key == "recipient" and words and not self._speaks_of_outcomes(value):
            words = None
        if words is None:
            return self._subject(key, value)
        if not self._is_known(key, words.phase):
            return None
        if not dot:
            return self._outcomes(key, words, value)
        kind = words.facts.get(fact)
        if kind is None:
            known = [f"{check}.{name}" for name in words.facts]
            remedy = did_you_mean(key, known) or f"{check} has no facts that rules may test"
            self._fault(["when", key], f"no fact '{fact}' that rules may test", remedy)
            return None
        return self._number(key, value) if kind.is_number else self._words(key, kind, value)

    def _speaks_of_outcomes(self, value: Data) -> bool:
        return all(str(item) in set(Outcome) for item in _listed(value))

    def _is_known(self, key: str, phase: Phase) -> bool:
        if phase.order <= self.at.order:
            return True
        remedy = f"a rule on {key} stands at: {phase}" + ("" if phase is Phase.CONTENT else " or later")
        self._fault(["when", key], f"is not known at {self.at}, only from {phase} on", remedy)
        return False

    def _outcomes(self, key: str, words: CheckWords, value: Data) -> Condition | None:
        named: list[Outcome] = []
        for item in _listed(value):
            if item == Outcome.TEMPERROR.value:
                problem = "temperror is no outcome to rule on: it means that we do not know"
                self._fault(["when", key], problem, "say under outage: what to do then")
                return None
            if item not in [outcome.value for outcome in words.outcomes]:
                known = [outcome.value for outcome in words.outcomes]
                self._fault(["when", key], f"{key} never has the outcome {item!r}", did_you_mean(str(item), known))
                return None
            named.append(Outcome(item))
        if not self._looks_right(key, named, words.outcomes):
            return None
        # outcomes a check does not promise still have a side on which they fall
        edge = FAVOUR.index(named_edge(named, words.outcomes, self.accepting))
        others = {
            outcome
            for n, outcome in enumerate(FAVOUR)
            if outcome not in words.outcomes and (n <= edge if self.accepting else n >= edge)
        }
        return OutcomeIs(key, frozenset(named) | others)

    def _words(self, key: str, kind: FactKind, value: Data) -> Condition | None:
        check, _, fact = key.partition(".")
        named = _listed(value)
        for item in named:
            if not any(item is known or (isinstance(item, str) and item == known) for known in kind.values):
                shown = ", ".join(str(known).lower() for known in kind.values)
                self._fault(["when", key], f"{item!r} is not one of its values", f"use: {shown}")
                return None
        if not self._looks_right(key, named, kind.values):
            return None
        return FactIs(check, fact, frozenset(named))

    def _looks_right(self, key: str, named: Sequence[FactValue], order: Sequence[FactValue]) -> bool:
        """Monotone: all that is worse (for a refusal) or better (for an accept rule) is named too."""
        if not named:
            self._fault(["when", key], "names nothing", "name at least one value")
            return False
        places = [order.index(item) for item in named]
        whole = order[: max(places) + 1] if self.accepting else order[min(places) :]
        missing = [item for item in whole if item not in named]
        if not missing:
            return True
        if self.accepting:
            problem = "accepts something and not what is better"
        else:
            problem = "acts on something and not on what is worse"
        without, full = (", ".join(str(item).lower() for item in items) for items in (missing, whole))
        self._fault(["when", key], f"{problem}: {without} missing", f"list [{full}]")
        return False

    def _number(self, key: str, value: Data) -> Condition | None:
        check, _, fact = key.partition(".")
        match = _COMPARISON.fullmatch(value.strip()) if isinstance(value, str) else None
        if not match:
            self._fault(["when", key], "must be a comparison", 'write it in quotes, such as ">= 5"')
            return None
        fitting = ("<", "<=") if self.accepting else (">", ">=")
        if match[1] not in fitting:
            problem = "looks the wrong way: less is better"
            self._fault(["when", key], problem, f"use {' or '.join(fitting)}")
            return None
        return FactCompares(check, fact, match[1], float(match[2]))

    def _subject(self, key: str, value: Data) -> Condition | None:
        if key not in SUBJECTS:
            facts = [f"{check}.{fact}" for check, words in VOCABULARY.items() for fact in words.facts]
            self._fault(["when", key], "unknown condition", did_you_mean(key, [*SUBJECTS, *VOCABULARY, *facts]))
            return None
        if not self._is_known(key, SUBJECTS[key]):
            return None
        if key == "tls":
            if not isinstance(value, bool):
                self._fault(["when", key], "must be true or false", "write tls: false")
                return None
            return TlsIs(value)
        if key in ("client.asn", "client.country"):
            return self._origin(key, _listed(value))
        texts = _listed(value)
        if not texts or not all(isinstance(text, str) for text in texts):
            self._fault(["when", key], "must be a text or a list of texts", "quote what looks like a number")
            return None
        if key == "recipient" and not all("@" in text or "*" in text for text in texts):
            outcomes = [outcome.value for outcome in VOCABULARY["recipient"].outcomes]
            remedy = f"write patterns such as info@example.org, or outcomes: {', '.join(outcomes)}"
            self._fault(["when", key], "is neither an address pattern nor an outcome", remedy)
            return None
        if key != "client":
            return TextMatches(key, tuple(text.lower() for text in texts))
        try:
            return ClientIn(tuple(ip_network(text) for text in texts))
        except ValueError as error:
            self._fault(["when", key], str(error), "write networks such as 192.0.2.0/24 or 2001:db8::/32")
            return None

    def _origin(self, key: str, items: Sequence[Data]) -> Condition | None:
        named = [_origin_word(key, item) for item in items]
        if not named or None in named:
            remedy = "such as [64496, 64497]" if key == "client.asn" else "such as [DE, NO]"
            what = "AS numbers" if key == "client.asn" else "countries of two letters"
            self._fault(["when", key], f"must be {what}", remedy)
            return None
        return OriginIs("asn", key.partition(".")[2], frozenset(word for word in named if word))


def _origin_word(key: str, item: Data) -> str | None:
    """As the finding has it; None for what is neither an AS number nor a country."""
    if key == "client.country":
        return item.upper() if isinstance(item, str) and re.fullmatch("[A-Za-z]{2}", item) else None
    match = None if isinstance(item, bool) else _AS_NUMBER.fullmatch(str(item))
    return match[1] if match and int(match[1]) < 2**32 else None


def named_edge(named: Sequence[Outcome], order: Sequence[Outcome], accepting: bool) -> Outcome:
    """The least favourable outcome that an accept rule names, the most favourable one that another names."""
    return max(named, key=order.index) if accepting else min(named, key=order.index)


def _listed(value: Data) -> list[Data]:
    return value if isinstance(value, list) else [value]
