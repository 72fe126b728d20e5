"""What ``mxgw spf``, ``dkim``, ``dmarc`` and ``authres`` share: one question to the checks, with all its evidence.

DNS is asked for real, or in a master file with ``--zone`` (no network). Exit codes: 0 for a pass, 1 for any other
answer, 75 where nobody can say, 64 and 65 for a question that cannot be asked.

Known gaps: none.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.cli.output import CommandError, config_argument, output_argument, printable, show_columns, unusable
from gateway.cli.sysexits import NEGATIVE, OK, TEMPFAIL, USAGE

if TYPE_CHECKING:
    from gateway.config import Settings
    from gateway.mail.finding import Finding, Outcome
    from gateway.mail.message import Message
    from gateway.mail.transaction import Transaction
    from gateway.policy.settings import ChecksSettings
    from gateway.ports.dns import Asked


def question_arguments(parser: argparse.ArgumentParser) -> None:
    """--zone, --policy, --config and --output."""
    parser.add_argument("--zone", type=Path, metavar="FILE", help="answer DNS from this master file; no network")
    parser.add_argument(
        "--policy", type=Path, metavar="FILE", help="settings of the checks; default: the packaged policy"
    )
    config_argument(parser)
    output_argument(parser)


@dataclass(frozen=True, slots=True)
class Answered:
    """The transaction with its findings, and what DNS was asked for them."""

    tx: Transaction
    asked: tuple[Asked, ...]


def settings_of(args: argparse.Namespace) -> Settings | None:
    """Those of --config, or None."""
    from gateway.config import load_settings

    return load_settings(args.config, os.environ) if args.config is not None else None


def checks_of(args: argparse.Namespace, settings: Settings | None) -> ChecksSettings:
    """The settings of the checks: --policy, else those in force at the node of --config, else the packaged policy's."""
    from gateway.node.policy_keeper import policy_now
    from gateway.policy.load import load, load_packaged

    if args.policy:
        return load(args.policy).default.checks
    return (policy_now(settings) if settings else load_packaged("default")).default.checks


def answer(
    args: argparse.Namespace, tx: Transaction, names: Sequence[str], checks: ChecksSettings | None = None
) -> Answered:
    """Run these checks, phase by phase, as a node would. Raises CommandError."""
    from gateway.node.compose import recorded_ports

    settings = settings_of(args)
    chosen = checks or checks_of(args, settings)
    try:
        ports, asked = recorded_ports(settings, args.zone)
    except (ValueError, OSError) as error:
        raise unusable(error) from error

    async def run() -> Transaction:
        from gateway.checks import CHECKS
        from gateway.checks.run import run_phase
        from gateway.mail.phase import Phase

        found = tx
        rows = [row for row in CHECKS if row.name in names]
        try:
            for phase in Phase:
                found, _ = await run_phase(rows, phase, found, ports, chosen)
        finally:
            await ports.dns.close()
        return found

    return Answered(asyncio.run(run()), asked())


def client_of(text: str) -> IPv4Address | IPv6Address:
    """An IP address, or CommandError(64)."""
    try:
        return ip_address(text)
    except ValueError as error:
        raise CommandError(USAGE, str(error)) from error


def message_of(path: Path) -> Message:
    """The message in a file (``-``: standard input), line endings made CRLF, or CommandError(65)."""
    from gateway.mail.message import Message

    try:
        octets = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise unusable(error, path) from error
    return Message.parse(re.sub(rb"\r\n|\r|\n", b"\r\n", octets))


def exit_code(outcome: Outcome) -> int:
    """0 for pass, 75 for temperror, 1 for the rest."""
    return {"pass": OK, "temperror": TEMPFAIL}.get(outcome.value, NEGATIVE)


def asked_json(asked: Sequence[Asked]) -> list[dict[str, Any]]:
    """The DNS answers as JSON values."""
    return [
        {"name": one.name, "type": one.rtype, "status": one.status, "records": list(one.records), "ttl": one.ttl}
        for one in asked
    ]


def show_finding(finding: Finding, asked: Sequence[Asked], result: str = "") -> None:
    """Result, evidence and DNS answers for people. result: in place of the finding's own words."""
    rows = [(finding.check, result or f"{finding.outcome.value} ({finding.reason})")]
    rows += evidence_rows(finding.evidence)
    if finding.cause:
        rows.append(("cause", str(finding.cause)))
    show_columns([tuple(printable(cell) for cell in row) for row in rows])
    show_asked(asked)


def evidence_rows(evidence: Mapping[str, Any]) -> list[tuple[str, str]]:
    """One row a fact that says something."""
    shown = {key: ", ".join(value) if isinstance(value, tuple) else value for key, value in evidence.items()}
    return [(f"  {key}", str(value)) for key, value in shown.items() if value not in ("", None)]


def show_asked(asked: Sequence[Asked]) -> None:
    """The DNS answers for people."""
    rows = [(f"  {one.name}", one.rtype, record) for one in asked for record in one.records or (one.status,)]
    if rows:
        print("DNS")
        show_columns([tuple(printable(cell) for cell in row) for row in rows])
