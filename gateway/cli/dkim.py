"""``mxgw dkim FILE``: do the signatures of a message hold (RFC 6376), and if not, why?

Known gaps: the clock is that of the machine: expired signatures cannot be looked at as of yesterday.
"""

from __future__ import annotations

import argparse
import time
from ipaddress import IPv4Address
from pathlib import Path

from gateway.cli.output import CommandError, printable, show_columns, show_json
from gateway.cli.question import answer, asked_json, exit_code, message_of, question_arguments, show_finding
from gateway.cli.sysexits import USAGE


def arguments(parser: argparse.ArgumentParser) -> None:
    """The message."""
    parser.add_argument("file", type=Path, metavar="FILE", help="the message; - is standard input")
    question_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Ask and tell."""
    from gateway.evidence.record import finding_json
    from gateway.mail.finding import DkimFinding
    from gateway.mail.transaction import Connection, Transaction

    message = message_of(args.file)
    tx = Transaction("QUESTION", Connection("QUESTION", IPv4Address(0)), time.time(), message=message)
    found = answer(args, tx, ["dkim"])
    finding = found.tx.findings.get("dkim")
    if finding is None:
        raise CommandError(USAGE, "the policy switches dkim off")
    if args.output == "json":
        show_json("dkim", {"file": str(args.file), **finding_json(finding), "dns": asked_json(found.asked)})
        return exit_code(finding.outcome)
    if isinstance(finding, DkimFinding) and finding.signatures:
        rows = [("SIGNATURE", "RESULT", "REASON", "ALGORITHM", "KEY", "NOTES")]
        for one in finding.signatures:
            notes = [word for word, is_so in (("testing", one.testing), ("partial", one.partial)) if is_so]
            bits = f"{one.key_bits} bits" if one.key_bits else ""
            name = f"{one.selector}@{one.domain}"
            rows.append((name, one.outcome.value, one.reason, one.algorithm, bits, ", ".join(notes)))
        show_columns([tuple(printable(cell) for cell in row) for row in rows])
    show_finding(finding, found.asked)
    return exit_code(finding.outcome)
