"""A policy file becomes a :class:`Policy`, or every fault in it is reported at once with its line.

Refused, beside unknown keys and wrong types: a rule that speaks of what is not yet known at its phase, a reply text,
a reason whose reply class does not fit the action, a condition that is not monotone (a refusal must cover everything
worse than what it names, a favour everything better), and names that refer to nothing.

Known gaps: that two rules contradict each other is not noticed (severity decides).
"""

from __future__ import annotations

import hashlib
import importlib.resources
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pydantic

from gateway.mail.address import AddressError, parse_domain
from gateway.mail.dnsbl_site import parse_site
from gateway.mail.verdict import Action
from gateway.policy.model import OriginIs, Policy, Posture, Profile, Rule
from gateway.policy.rule_form import RuleReader
from gateway.policy.schema import OutageForm, PolicyForm, ProfileForm
from gateway.policy.settings import ChecksSettings, ContentSettings
from gateway.policy.vocabulary import PORTS, VOCABULARY
from gateway.yamlfile import Document, Fault, FaultsError, Key, did_you_mean, faults_from, parse, read

TEXT_KEYS = ("text", "reply", "message", "code", "status", "enhanced")
_ON_STORE_ERROR = {"open": Posture.PROCEED, "closed": Posture.DEFER}
_DEFAULT_POSTURE = {"dns": Posture.PROCEED, "store": Posture.PROCEED, "mailstore": Posture.DEFER, "": Posture.PROCEED}
_REMEDIES = {
    **dict.fromkeys(TEXT_KEYS, "replies come from one table: use reason: and a key of docs/replies.md"),
    "version": "write version: 1",
    "id": "lower-case letters, digits and hyphens, at most 64",
    "if": "conditions stand under when:",
    "action": "what to do stands under then:",
    "phase": "the phase stands under at:",
}


def load(path: Path) -> Policy:
    """Read a policy file. Raises FaultsError with all faults."""
    return _build(read(path))


def load_text(text: str, name: str) -> Policy:
    """A policy from YAML text; ``name`` stands in faults and as the policy's source. Raises FaultsError."""
    return _build(parse(text, name))


def load_packaged(name: str = "default") -> Policy:
    """One of the policies that come with the product: default, observe or strict. Raises FaultsError."""
    file = importlib.resources.files("gateway") / "policies" / f"{name}.yaml"
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        remedy = "there are default, observe and strict"
        raise FaultsError([Fault(name, 0, "", "is not a packaged policy", remedy)]) from error
    return load_text(text, f"packaged:{name}")


def _build(document: Document) -> Policy:
    try:
        form = PolicyForm.model_validate(document.data)
    except pydantic.ValidationError as error:
        faults = faults_from(error, document, _REMEDIES, model=PolicyForm)
        raise FaultsError(faults + _faults_of_sound_rules(document)) from error
    reader = _Reader(document, form)
    policy = reader.policy()
    if reader.faults:
        raise FaultsError(reader.faults)
    return policy


def _faults_of_sound_rules(document: Document) -> list[Fault]:
    """What else is wrong in rules whose form is right: one round of corrections must be enough."""
    rules = document.data.get("rules") if isinstance(document.data, dict) else None
    faults: list[Fault] = []
    for number, rule in enumerate(rules if isinstance(rules, list) else ()):
        try:
            form = PolicyForm.model_validate({"version": 1, "rules": [rule]}).rules[0]
        except pydantic.ValidationError:
            continue  # its faults are reported already
        RuleReader(document, ("rules", number), faults).read(form)
    return faults


class _Reader:
    """Turns a form into a policy and gathers faults on the way."""

    def __init__(self, document: Document, form: PolicyForm) -> None:
        self.document = document
        self.form = form
        self.faults: list[Fault] = []

    def policy(self) -> Policy:
        """The policy; worthless where there are faults."""
        form = self.form
        rules = self._rules()
        self._sites(form.checks, ())
        posture = self._posture(form.outage, None, form.checks, ())
        default = Profile("default", (), form.mode, rules, form.checks, form.content, posture)
        profiles = self._profiles(default)
        digest = _digest(form.version, (default, *profiles))
        return Policy(form.version, digest, default, profiles, self.document.file)

    def _fault(self, path: tuple[Key, ...], problem: str, remedy: str = "") -> None:
        self.faults.append(self.document.fault(path, problem, remedy))

    def _rules(self) -> tuple[Rule, ...]:
        seen: dict[str, int] = {}
        rules: list[Rule] = []
        for number, form in enumerate(self.form.rules):
            path = ("rules", number)
            if form.id in seen:
                first = self.document.line(("rules", seen[form.id]))
                self._fault((*path, "id"), f"'{form.id}' is the id of two rules (first in line {first})", "rename one")
            seen.setdefault(form.id, number)
            rule = RuleReader(self.document, path, self.faults).read(form)
            if rule:
                rules.append(rule)
                self._asked(rule, path)
        return tuple(rules)

    def _asked(self, rule: Rule, path: tuple[Key, ...]) -> None:
        if any(isinstance(condition, OriginIs) for condition in rule.when) and not self.form.checks.asn.asks:
            self._fault((*path, "when"), "nobody is asked for the client's origin", "name a zone under checks.asn")

    def _sites(self, checks: ChecksSettings, under: tuple[Key, ...]) -> None:
        zones: dict[str, str] = {}
        names: dict[str, str] = {}
        for key in ("sites", "domain_sites"):
            for number, text in enumerate(getattr(checks.dnsbl, key)):
                path = (*under, "checks", "dnsbl", key, number)
                try:
                    site = parse_site(text)
                except ValueError as error:
                    self._fault(path, str(error), "write domain[=127.0.0.[2..11]][*weight]")
                    continue
                # health and hits are kept by name
                if zones.setdefault(site.label, site.domain) != site.domain:
                    self._fault(path, f"two lists have the name {site.label}", "write name: before one of them")
                elif names.setdefault(site.domain, site.label) != site.label:
                    self._fault(path, f"{site.label} and {names[site.domain]} are one list", "give it one name")

    def _posture(
        self, outage: OutageForm, base: OutageForm | None, checks: ChecksSettings, under: tuple[Key, ...]
    ) -> Mapping[str, Posture]:
        for check in outage.checks:
            if check not in VOCABULARY:
                path = (*under, "outage", "checks", check)
                self._fault(path, "is not a check", did_you_mean(check, list(VOCABULARY)))
        layers = [layer for layer in (outage, base) if layer is not None]
        ports = dict(_DEFAULT_POSTURE)
        for port in PORTS:
            ports[port] = next((p for layer in layers if (p := getattr(layer, port))), ports[port])
        single = {**(base.checks if base else {}), **outage.checks}
        for check in VOCABULARY:
            # the same thing in the words of the store's operators
            if said := _ON_STORE_ERROR.get(getattr(checks.of(check), "on_store_error", "")):
                if check in outage.checks:
                    path = (*under, "outage", "checks", check)
                    self._fault(path, f"is said by checks.{check}.on_store_error too", "keep one")
                single[check] = said
        return {check: single.get(check, ports[words.port]) for check, words in VOCABULARY.items()}

    def _profiles(self, default: Profile) -> tuple[Profile, ...]:
        names: set[str] = {"default"}
        taken: dict[str, str] = {}
        profiles: list[Profile] = []
        for number, form in enumerate(self.form.profiles):
            path = ("profiles", number)
            if form.name in names:
                self._fault((*path, "name"), f"'{form.name}' is taken", "give each profile its own name")
            names.add(form.name)
            domains = tuple(self._domain((*path, "domains", n), text) for n, text in enumerate(form.domains))
            for n, domain in enumerate(domains):
                if domain in taken:
                    self._fault((*path, "domains", n), f"{domain} stands in profile '{taken[domain]}' too", "keep one")
                taken[domain] = form.name
            profiles.append(self._profile(form, path, domains, default))
        return tuple(profiles)

    def _profile(
        self, form: ProfileForm, path: tuple[Key, ...], domains: tuple[str, ...], default: Profile
    ) -> Profile:
        ids = [rule.id for rule in self.form.rules]
        for n, rule_id in enumerate(form.disable):
            if rule_id not in ids:
                self._fault((*path, "disable", n), f"there is no rule '{rule_id}'", did_you_mean(rule_id, ids))
        checks = self._checks(form, path)
        return Profile(
            name=form.name,
            domains=domains,
            mode=form.mode or default.mode,
            rules=tuple(rule for rule in default.rules if rule.id not in form.disable),
            checks=checks,
            content=self._content(form, default),
            posture=self._posture(form.outage, self.form.outage, checks, path),
        )

    def _content(self, form: ProfileForm, default: Profile) -> ContentSettings:
        return form.content or default.content

    def _checks(self, form: ProfileForm, path: tuple[Key, ...]) -> ChecksSettings:
        base = self.form.checks.model_dump(mode="json")
        merged: dict[str, Any] = {
            **base,
            **{
                name: {**base.get(name, {}), **section} if isinstance(section, dict) else section
                for name, section in form.checks.items()
            },
        }
        try:
            checks = ChecksSettings.model_validate(merged)
        except pydantic.ValidationError as error:
            under = (*path, "checks")
            self.faults += faults_from(error, self.document, _REMEDIES, model=ChecksSettings, under=under)
            return self.form.checks
        if isinstance(form.checks.get("dnsbl"), dict) and {"sites", "domain_sites"} & form.checks["dnsbl"].keys():
            self._sites(checks, path)
        return checks

    def _domain(self, path: tuple[Key, ...], text: str) -> str:
        star, name = ("*.", text[2:]) if text.startswith("*.") else ("", text)
        try:
            return star + parse_domain(name)
        except AddressError as error:
            self._fault(path, f"'{text}': {error}", "write example.org or *.example.org")
            return text


def _digest(version: int, profiles: tuple[Profile, ...]) -> str:
    """SHA-256 of everything that decides. The order of rules is part of it: of two equally severe rules the first
    gives the reply's reason."""
    form = {"version": version, "profiles": sorted((form_of(p) for p in profiles), key=lambda p: str(p["name"]))}
    return hashlib.sha256(json.dumps(form, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def form_of(profile: Profile) -> dict[str, object]:
    """All of a profile that decides, as JSON can say it."""
    return {
        "name": profile.name,
        "domains": sorted(profile.domains),
        "mode": profile.mode.value,
        "rules": [_rule_form(rule) for rule in profile.rules],
        "checks": profile.checks.model_dump(mode="json"),
        "content": profile.content.model_dump(mode="json"),
        "posture": {check: posture.value for check, posture in profile.posture.items()},
    }


def _rule_form(rule: Rule) -> dict[str, object]:
    conditions = [
        [type(condition).__name__, *(_plain(getattr(condition, name)) for name in type(condition).__slots__)]
        for condition in rule.when
    ]
    return {
        "id": rule.id,
        "at": rule.at.value,
        "when": sorted(conditions, key=json.dumps),
        "then": Action(rule.then).word,
        "reason": rule.reason,
        "through": rule.through.value,
        "firm": rule.firm,
    }


def _plain(value: object) -> object:
    if isinstance(value, frozenset | tuple):
        return sorted(str(item) for item in value)
    return value
