"""``mxgw spf IP HELO MAILFROM``: may this client use that domain (RFC 7208), and by which mechanism?

Known gaps: none.
"""

from __future__ import annotations

import argparse
import time

from gateway.cli.output import CommandError, show_json
from gateway.cli.question import answer, asked_json, client_of, exit_code, question_arguments, show_finding
from gateway.cli.sysexits import USAGE


def arguments(parser: argparse.ArgumentParser) -> None:
    """Client, HELO name and reverse-path."""
    parser.add_argument("ip", metavar="IP", help="the client's address")
    parser.add_argument("helo", metavar="HELO", help="the name that it gives")
    parser.add_argument("mailfrom", metavar="MAILFROM", help="the reverse-path; '' or '<>' is the null one")
    question_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Ask and tell."""
    from gateway.evidence.record import finding_json
    from gateway.mail.address import NULL, AddressError, parse_mailbox
    from gateway.mail.transaction import Connection, Envelope, Hello, Transaction

    text = args.mailfrom.removeprefix("<").removesuffix(">")
    try:
        path = parse_mailbox(text) if text else NULL
    except AddressError as error:
        raise CommandError(USAGE, f"{args.mailfrom}: {error}") from error
    connection = Connection("QUESTION", client_of(args.ip))
    tx = Transaction("QUESTION", connection, time.time(), Hello("EHLO", args.helo), Envelope(path))
    found = answer(args, tx, ["spf"])
    finding = found.tx.findings.get("spf")
    if finding is None:
        raise CommandError(USAGE, "the policy switches spf off")
    if args.output == "json":
        values = {"ip": str(connection.client_ip), "helo": args.helo, "mailfrom": str(path), **finding_json(finding)}
        show_json("spf", {**values, "dns": asked_json(found.asked)})
    else:
        show_finding(finding, found.asked)
    return exit_code(finding.outcome)
