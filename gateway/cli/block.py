"""``mxgw block``: shut a client, a network, a domain or a mailbox out on all nodes, for a while.

In force on all nodes within two seconds, also for sessions that are open; ``unblock`` lifts it, ``blocks`` lists.

Known gaps: none.
"""

from __future__ import annotations

import argparse
import asyncio
import getpass
import os
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import TYPE_CHECKING, TypeVar

from gateway.cli.output import CommandError, config_argument, output_argument, settings_path, show_json, unusable
from gateway.cli.sysexits import DATAERR, OK, UNAVAILABLE, USAGE

if TYPE_CHECKING:
    from gateway.ports.blocks import Block
    from gateway.ports.board import Board

T = TypeVar("T")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST = 366 * 86400.0
_WIDE = {4: 8, 6: 20}


def arguments(parser: argparse.ArgumentParser) -> None:
    """What, how long and why."""
    parser.add_argument("what", metavar="IP|CIDR|DOMAIN|ADDRESS", help="a domain stands for all below it too")
    parser.add_argument(
        "--for", dest="duration", default="24h", metavar="TIME", help="90s, 30m, 4h or 7d; default: 24h"
    )
    parser.add_argument("--reason", default="", metavar="TEXT", help="for the record; clients never see it")
    parser.add_argument("--yes", action="store_true", help="also a network that is wider than /8 (IPv6: /20)")
    config_argument(parser)
    output_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Put it on the board."""
    from gateway.cluster.blocks import put
    from gateway.cluster.membership import somebody
    from gateway.ports.blocks import Block

    what, seconds = what_of(args.what), seconds_of(args.duration)
    if _is_wide(what) and not args.yes:
        raise CommandError(USAGE, f"{what} is very wide; say --yes if it is meant")
    block = Block(what, 0.0, reason=args.reason[:200], by=who())

    async def work(board: Board) -> tuple[Block, bool]:
        return await put(board, block, seconds), await somebody(board)

    found, heard = over_board(args, work)
    if args.output == "json":
        show_json("block", block_json(found))
    else:
        print(f"blocked: {found.what} until {at(found.until)}")
    if not heard:
        # a store that has just come back hears of its nodes within seconds
        raise nobody_there(args, f"the block of {found.what} is put and stands for the nodes to come, but ")
    return OK


def what_of(text: str) -> str:
    """The board's key of what the operator wrote."""
    from gateway.cluster.blocks import parse_what

    try:
        return parse_what(text)
    except ValueError as error:
        raise CommandError(USAGE, str(error)) from error


def over_board(args: argparse.Namespace, work: Callable[[Board], Awaitable[T]]) -> T:
    """Do it with the board of the node's settings. Raises CommandError, also where ``work`` found no node there."""
    from gateway.cluster.membership import NobodyThereError
    from gateway.config import load_settings
    from gateway.node.duties import board_of
    from gateway.ports.failure import PortFailure

    settings = load_settings(settings_path(args.config), os.environ)
    if settings.store.startswith("memory:"):
        raise CommandError(UNAVAILABLE, f"{settings.store} is in each process's own memory; no command reaches it")

    async def over() -> T:
        try:
            board = board_of(settings)
        except (ValueError, OSError) as error:
            raise unusable(error) from error
        try:
            return await work(board)
        except PortFailure as failure:
            raise CommandError(UNAVAILABLE, f"{failure}; {whose_store(args)}") from failure
        except NobodyThereError as error:
            raise nobody_there(args) from error
        except ValueError as error:
            raise CommandError(DATAERR, str(error)) from error
        finally:
            await board.close()

    return asyncio.run(over())


def nobody_there(args: argparse.Namespace, done: str = "") -> CommandError:
    """No node is on the board: most often it is not the nodes' store. What to say, and 69. done: what was done
    there all the same, to be said first."""
    why = f"no node is on the board; start one (mxgw run), or else: {whose_store(args)}"
    return CommandError(UNAVAILABLE, done + why)


def whose_store(args: argparse.Namespace) -> str:
    """Which store these settings name, and where to correct it."""
    from gateway.config import load_settings
    from gateway.config.masking import masked

    path = settings_path(args.config)
    settings = load_settings(path, os.environ)
    return f"`store` is {masked(settings.store)} ({settings.origin['store']}, settings {path})"


def at(seconds: float) -> str:
    """A time for people and programs: RFC 3339 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def block_json(block: Block) -> dict[str, str]:
    """For programs."""
    return {
        "what": block.what,
        "until": at(block.until),
        "since": at(block.since),
        "reason": block.reason,
        "by": block.by,
    }


def seconds_of(text: str, option: str = "--for") -> float:
    """A duration such as 4h, in seconds, or CommandError(64) that names the option."""
    match = re.fullmatch(r"(\d+)([smhd])", text)
    seconds = float(int(match[1]) * _UNITS[match[2]]) if match else 0.0
    if not 0 < seconds <= _LONGEST:
        raise CommandError(USAGE, f"{option} {text}: a number and s, m, h or d, at most a year, such as 4h")
    return seconds


def _is_wide(what: str) -> bool:
    try:
        network = ip_network(what)
    except ValueError:
        return "." not in what
    return network.prefixlen < _WIDE[network.version]


def who() -> str:
    """The operator, for the record."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
