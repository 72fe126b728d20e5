"""``mxgw drill``: a constant flow of marked messages while you break something, and the account of it.

The cluster is found as senders find it, by the MX of the recipient's domain (asked of the settings' resolvers), or by
``--send-to``. What arrived is counted in the recipient's mailbox. Leaves with 0 where nothing was lost, duplicated,
refused or left over, else with 1; 69 where nothing was accepted even before the fault.

Known gaps: none.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import socket
import sys
from typing import TYPE_CHECKING

from gateway.cli.output import (
    CommandError,
    config_argument,
    output_argument,
    settings_path,
    show_columns,
    show_json,
)
from gateway.cli.sysexits import DATAERR, NEGATIVE, OK, UNAVAILABLE, USAGE
from gateway.drills.catalogue import DRILLS

if TYPE_CHECKING:
    from gateway.config import Settings
    from gateway.drills.account import Account
    from gateway.drills.probe import Envelope
    from gateway.drills.targets import Target


def arguments(parser: argparse.ArgumentParser) -> None:
    """The drill, the way to the cluster, the mailbox and the figures."""
    parser.add_argument("name", metavar="NAME", choices=("list", *DRILLS), help="list shows them")
    parser.add_argument("--to", metavar="ADDRESS", help="the drill's recipient: a mailbox for nothing else")
    parser.add_argument(
        "--count", metavar="URL", help="that mailbox: maildir:/path, imap://user@host, imaps://user@host"
    )
    parser.add_argument(
        "--from", dest="reverse_path", metavar="ADDRESS", help="reverse-path; {n} is a new word each time"
    )
    parser.add_argument("--helo", metavar="NAME", help="name in EHLO; default: this machine's")
    parser.add_argument(
        "--send-to", action="append", metavar="ADDRESS:PORT", help="in place of the MX; may be repeated"
    )
    parser.add_argument("--ipv4", action="store_true", help="leave IPv6 addresses of the MX out")
    parser.add_argument("--rate", type=float, default=5.0, metavar="N", help="messages a second; default 5")
    parser.add_argument("--calm", type=float, default=10.0, metavar="SECONDS", help="before and after; default 10")
    parser.add_argument("--during", type=float, metavar="SECONDS", help="under the fault; default: as listed")
    parser.add_argument("--retry", type=float, default=5.0, metavar="SECONDS", help="until the next attempt; default 5")
    parser.add_argument(
        "--patience", type=float, default=120.0, metavar="SECONDS", help="for what is owed; default 120"
    )
    parser.add_argument("--settle", type=float, default=20.0, metavar="SECONDS", help="for the mailbox; default 20")
    parser.add_argument("--parallel", type=int, default=20, metavar="N", help="sessions at a time; default 20")
    parser.add_argument("--no-hold", dest="hold", action="store_false", help="final dots go on while the fault is made")
    parser.add_argument("--fault", metavar="COMMAND", help="makes the fault in your place")
    parser.add_argument("--mend", metavar="COMMAND", help="mends it")
    config_argument(parser)
    output_argument(parser)


def run(args: argparse.Namespace) -> int:
    """List them, or go through one."""
    from gateway.config import load_settings

    if args.name == "list":
        return _list(args)
    if not args.to or not args.count:
        raise CommandError(USAGE, "a drill needs --to ADDRESS and --count URL")
    if not (args.rate > 0 and args.retry > 0 and args.parallel > 0 and args.calm > 0):
        raise CommandError(USAGE, "--rate, --calm, --retry and --parallel must be more than 0")
    settings = load_settings(settings_path(args.config), os.environ)
    made = asyncio.run(_drill(args, settings))
    if args.output == "json":
        show_json("drill", {"drill": args.name, **made.as_json()})
    else:
        show_columns([("DRILL", args.name), *made.rows()])
    return OK if made.passed else NEGATIVE


def _list(args: argparse.Namespace) -> int:
    if args.output == "json":
        listed = [
            {"name": one.name, "title": one.title, "fault": one.fault, "mend": one.mend, "during": one.during}
            for one in DRILLS.values()
        ]
        show_json("drill-list", {"drills": listed})
    else:
        show_columns([("NAME", "WHAT"), *((one.name, one.title) for one in DRILLS.values())])
    return OK


async def _drill(args: argparse.Namespace, settings: Settings) -> Account:
    from gateway.drills.course import Course, NotServedError
    from gateway.drills.load import Load
    from gateway.drills.mailbox import Mailbox, MailboxError

    drill, token = DRILLS[args.name], secrets.token_hex(6)
    envelope = _envelope(args)
    try:
        mailbox = Mailbox(args.count, os.environ.get("MXGW_DRILL_PASSWORD", ""), token)
        await mailbox.count()
    except ValueError as error:
        raise CommandError(USAGE, f"--count {error}") from error
    except MailboxError as error:
        raise CommandError(UNAVAILABLE, f"--count {error}") from error
    targets = await _targets(args, settings)
    _tell(args, f"{drill.name}: {drill.title}")
    for target in targets:
        _tell(args, f"  {target.preference:>3} {target.place}")
    course = Course(
        drill=drill,
        load=Load(targets, envelope, token, args.rate, args.retry, args.parallel),
        mailbox=mailbox,
        calm=args.calm,
        during=drill.during if args.during is None else args.during,
        patience=args.patience,
        settle=args.settle,
        hold=args.hold,
        tell=lambda text: _tell(args, text),
        operator=lambda what, first: _operator(args, what, args.fault if first else args.mend),
        policies=lambda: _policies(settings),
    )
    try:
        return await course.run()
    except (NotServedError, MailboxError) as error:
        raise CommandError(UNAVAILABLE, str(error)) from error


def _envelope(args: argparse.Namespace) -> Envelope:
    from gateway.drills.probe import Envelope
    from gateway.mail.address import AddressError, parse_mailbox

    helo = args.helo or socket.getfqdn()
    reverse_path = args.reverse_path or f"drill@{helo}"
    try:
        parse_mailbox(reverse_path.replace("{n}", "n"))
        return Envelope(reverse_path, str(parse_mailbox(args.to)), helo)
    except AddressError as error:
        raise CommandError(USAGE, f"not an address: {error}") from error


async def _targets(args: argparse.Namespace, settings: Settings) -> tuple[Target, ...]:
    from gateway.config import split_address
    from gateway.drills.targets import Target, by_mx
    from gateway.node.compose import zone_or_net
    from gateway.ports.failure import PortFailure

    if args.send_to:
        try:
            places = [split_address(text) for text in args.send_to]
        except ValueError as error:
            raise CommandError(USAGE, f"--send-to {error}") from error
        return tuple(Target(0, host, host, port) for host, port in places)
    domain = args.to.rpartition("@")[2]
    dns = zone_or_net(settings, None)
    try:
        found = await by_mx(dns, domain, (4,) if args.ipv4 else (4, 6))
    except PortFailure as failure:
        raise CommandError(UNAVAILABLE, f"the MX of {domain}: {failure}") from failure
    finally:
        await dns.close()
    if not found:
        raise CommandError(DATAERR, f"{domain} has no MX with an address; give --send-to")
    return found


async def _policies(settings: Settings) -> dict[str, str] | None:
    from gateway.cluster.membership import members
    from gateway.node.duties import board_of
    from gateway.ports.failure import PortFailure

    if settings.store.startswith("memory:"):
        return None
    board = board_of(settings)
    try:
        return {name: str(said["policy"]) for name, said in (await members(board)).items()}
    except PortFailure:
        return None
    finally:
        await board.close()


async def _operator(args: argparse.Namespace, what: str, command: str | None) -> None:
    if command:
        _tell(args, f"NOW {command}")
        # what it says must not stand before the JSON
        out = 2 if args.output == "json" else 1
        running = await asyncio.create_subprocess_shell(command, stdin=asyncio.subprocess.DEVNULL, stdout=out)
        done = await running.wait()
        if done:
            raise CommandError(UNAVAILABLE, f"{command}: left with {done}")
        return
    _tell(args, f"NOW {what}; then press Enter")
    if not await _line():
        raise CommandError(USAGE, "nobody presses Enter; give --fault and --mend")


async def _line() -> str:
    """A line of standard input, without a thread that nobody could interrupt."""
    loop, read = asyncio.get_running_loop(), asyncio.Event()
    try:
        loop.add_reader(sys.stdin.fileno(), read.set)
    except OSError:
        return ""  # a file or /dev/null
    try:
        await read.wait()
        return sys.stdin.readline()
    finally:
        loop.remove_reader(sys.stdin.fileno())


def _tell(args: argparse.Namespace, text: str) -> None:
    """To standard output, or where JSON goes there, to standard error."""
    print(text, file=sys.stderr if args.output == "json" else sys.stdout, flush=True)
