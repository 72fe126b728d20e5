"""``mxgw authres FILE``: what the Authentication-Results in a message say, which of them claim to be ours and would be
removed, and the field that we would write.

Ours holds what the content alone shows (DKIM, ARC, DMARC); with ``--ip``, ``--helo`` and ``--from`` SPF and iprev too.
Leaves with 0 where every field can be read, 65 where one cannot.

Known gaps: without ``--config`` our authserv-id is that of ``--authserv-id``, or this machine's name.
"""

from __future__ import annotations

import argparse
import socket
import time
from collections.abc import Sequence
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.cli.output import CommandError, printable, show_columns, show_json
from gateway.cli.question import (
    answer,
    asked_json,
    client_of,
    evidence_rows,
    message_of,
    question_arguments,
    settings_of,
    show_asked,
)
from gateway.cli.sysexits import DATAERR, OK, USAGE

if TYPE_CHECKING:
    from gateway.mail.authres_read import ReadField
    from gateway.mail.message import Message
    from gateway.mail.transaction import Transaction


def arguments(parser: argparse.ArgumentParser) -> None:
    """The message, who we are, and where it came from."""
    parser.add_argument("file", type=Path, metavar="FILE", help="the message; - is standard input")
    parser.add_argument("--authserv-id", metavar="ID", help="ours; default: that of the settings")
    parser.add_argument("--ip", metavar="IP", help="the client's address")
    parser.add_argument("--helo", default="", metavar="NAME", help="the name that it gave")
    parser.add_argument(
        "--from", dest="mailfrom", default="", metavar="ADDRESS", help="the reverse-path; '' is the null one"
    )
    question_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Read, ask and tell."""
    from gateway.evidence.record import finding_json
    from gateway.mail.authres import authentication_results, claims

    message = message_of(args.file)
    settings = settings_of(args)
    ours = args.authserv_id or (settings.authserv_id if settings else socket.gethostname())
    mine = {item.start for item in claims(message, ours, settings.header_prefix if settings else "X-Gateway-")}
    fields = _fields(message, mine)
    names = ["dkim", "arc", "dmarc", "forwarder"] + (["iprev", "spf"] if args.ip else [])
    found = answer(args, _transaction(args, message), names)
    written = authentication_results(found.tx, ours)
    if args.output == "json":
        findings = {name: finding_json(finding) for name, finding in found.tx.findings.items()}
        show_json(
            "authres",
            {
                "file": str(args.file),
                "authserv_id": ours,
                "fields": [_as_json(*one) for one in fields],
                "findings": findings,
                "field": written.decode("utf-8", "replace"),
                "dns": asked_json(found.asked),
            },
        )
    else:
        _show_fields(fields)
        for finding in found.tx.findings.values():
            rows = [(finding.check, f"{finding.outcome.value} ({finding.reason})"), *evidence_rows(finding.evidence)]
            show_columns([tuple(printable(cell) for cell in row) for row in rows])
        show_asked(found.asked)
        print("OURS")
        for line in written.decode("utf-8", "replace").splitlines():
            print(f"  {printable(line)}")
    return OK if all(read is not None for _, read, _ in fields) else DATAERR


_Field = tuple[str, "ReadField | None", bool]
"""Text, meaning, whether it claims to be ours."""


def _fields(message: Message, mine: set[int]) -> list[_Field]:
    from gateway.mail.authres_read import read_field

    return [
        (message.value(item).decode("utf-8", "replace"), read_field(message.value(item)), item.start in mine)
        for item in message.all("authentication-results")
    ]


def _as_json(text: str, read: ReadField | None, claims_ours: bool) -> dict[str, Any]:
    values: dict[str, Any] = {"text": text, "readable": read is not None, "removed": claims_ours}
    if read:
        values["authserv_id"] = read.authserv_id
        values["results"] = [
            {
                "method": one.method,
                "result": one.word,
                "reason": one.reason,
                "properties": dict(one.properties),
                "comments": list(one.comments),
            }
            for one in read.results
        ]
    return values


def _show_fields(fields: Sequence[_Field]) -> None:
    for text, read, claims_ours in fields:
        note = "claims to be ours: would be removed" if claims_ours else "foreign: stays"
        if read is None:
            print(printable(f"FIELD  cannot be read ({note}): {text}"))
            continue
        print(printable(f"FIELD  {read.authserv_id} ({note})"))
        rows = [
            (
                f"  {one.method}",
                one.word,
                " ".join(f"{name}={value}" for name, value in one.properties.items()),
                " ".join([*([f"reason: {one.reason}"] if one.reason else []), *(f"({text})" for text in one.comments)]),
            )
            for one in read.results
        ]
        show_columns([tuple(printable(cell) for cell in row) for row in rows or [("  none", "", "", "")]])


def _transaction(args: argparse.Namespace, message: Message) -> Transaction:
    from gateway.mail.address import NULL, AddressError, parse_mailbox
    from gateway.mail.transaction import Connection, Envelope, Hello, Transaction

    try:
        path = parse_mailbox(args.mailfrom) if args.mailfrom not in ("", "<>") else NULL
    except AddressError as error:
        raise CommandError(USAGE, f"{args.mailfrom}: {error}") from error
    client = client_of(args.ip) if args.ip else IPv4Address(0)
    connection = Connection("QUESTION", client, client_known=bool(args.ip))
    hello = Hello("EHLO", args.helo) if args.helo else None
    return Transaction("QUESTION", connection, time.time(), hello, Envelope(path), message=message)
