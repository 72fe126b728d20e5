"""``mxgw dmarc DOMAIN``: which policy applies to an author domain (RFC 9989), where it stands, and how it was found.

With ``--spf`` and ``--dkim`` also whether these identifiers, had they passed, would be aligned. Beside it stands what
RFC 7489 with the public suffix list would say. Leaves with 0 where a policy applies (and, with identifiers, one is
aligned).

Known gaps: report addresses are not looked at.
"""

from __future__ import annotations

import argparse
import time
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from gateway.cli.output import CommandError, show_json
from gateway.cli.question import answer, asked_json, checks_of, question_arguments, settings_of, show_finding
from gateway.cli.sysexits import NEGATIVE, OK, TEMPFAIL, USAGE

if TYPE_CHECKING:
    from gateway.mail.finding import Finding
    from gateway.ports.dns import Asked


def arguments(parser: argparse.ArgumentParser) -> None:
    """The domain, and identifiers that would have passed."""
    parser.add_argument("domain", metavar="DOMAIN", help="the domain of the From field")
    parser.add_argument("--spf", metavar="D", help="as if SPF had passed for a reverse-path of this domain")
    parser.add_argument("--dkim", metavar="D", action="append", default=[], help="as if a signature of it had passed")
    question_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Ask and tell."""
    from gateway.evidence.record import finding_json
    from gateway.mail.finding import Outcome

    finding, asked = _ask(args)
    named = bool(args.spf or args.dkim)
    answers = {Outcome.FAIL: "policy" if not named else "fail", Outcome.PASS: "pass"}
    result = answers.get(finding.outcome, finding.outcome.value)
    if args.output == "json":
        values = {"domain": finding.evidence["author_domain"], "result": result, **finding_json(finding)}
        show_json("dmarc", {**values, "dns": asked_json(asked)})
    else:
        show_finding(finding, asked, f"{result} ({finding.reason})" if named else result)
    if finding.outcome is Outcome.TEMPERROR:
        return TEMPFAIL
    return OK if result in ("policy", "pass") else NEGATIVE


def _ask(args: argparse.Namespace) -> tuple[Finding, tuple[Asked, ...]]:
    from gateway.mail.address import NULL, AddressError, Mailbox, parse_domain
    from gateway.mail.finding import DkimFinding, DkimSignature, Finding, Outcome
    from gateway.mail.message import Message
    from gateway.mail.transaction import Connection, Envelope, Transaction

    try:
        domain = parse_domain(args.domain.removesuffix("."))
        spf = parse_domain(args.spf) if args.spf else ""
        signed = [DkimSignature(Outcome.PASS, "assumed", parse_domain(name)) for name in args.dkim]
    except AddressError as error:
        raise CommandError(USAGE, str(error)) from error
    assumed: dict[str, Finding] = {}
    if spf:
        assumed["spf"] = Finding("spf", Outcome.PASS, "assumed")
    if signed:
        assumed["dkim"] = DkimFinding("dkim", Outcome.PASS, "assumed", {}, None, tuple(signed))
    tx = Transaction(
        "QUESTION",
        Connection("QUESTION", IPv4Address(0)),
        time.time(),
        envelope=Envelope(Mailbox("x", spf) if spf else NULL),
        message=Message.parse(f"From: x@{domain}\r\n\r\n".encode()),
        findings=assumed,
    )
    checks = checks_of(args, settings_of(args))
    compared = checks.dmarc.model_copy(update={"enabled": True, "compare_public_suffix_list": True})
    found = answer(args, tx, ["dmarc"], checks.model_copy(update={"dmarc": compared}))
    return found.tx.findings["dmarc"], found.asked
