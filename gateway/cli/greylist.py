"""``mxgw greylist``: who waits, who would, and how to let somebody pass.

``list`` and ``stats`` tell what the nodes have seen; ``check`` asks what one attempt would meet, and records nothing;
``allow`` lets a network, a domain, a mailbox or a recipient pass at once, on all nodes within some seconds and while
the store is out; ``pass`` and ``clear`` change what the store knows of one key; ``seed`` lets known senders in before
greylisting is switched on.

Known gaps: the store knows keys only by hashes, so ``list`` shows what the nodes told in the last three days, in a
flood not every attempt.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.cli.output import (
    CommandError,
    config_argument,
    output_argument,
    printable,
    settings_path,
    show_columns,
    show_json,
    unusable,
)
from gateway.cli.sysexits import NEGATIVE, OK, UNAVAILABLE, USAGE

if TYPE_CHECKING:
    from gateway.cluster.greylist import Event
    from gateway.config import Settings
    from gateway.ports.board import Board

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_WAITING = ("first", "early", "expired")


def arguments(parser: argparse.ArgumentParser) -> None:
    """list, check, allow, pass, clear, stats, seed."""
    kinds = parser.add_subparsers(dest="kind", metavar="WHAT", required=True)

    def kind(name: str, text: str) -> argparse.ArgumentParser:
        made = kinds.add_parser(name, help=text)
        config_argument(made)
        output_argument(made)
        return made

    listing = kind("list", "keys that wait or have passed, and what operators allowed")
    listing.add_argument("text", nargs="?", default="", help="only keys and entries with this in them")
    listing.add_argument("--state", choices=("waiting", "passed", "allowed", "all"), default="all")
    listing.add_argument("--since", type=_seconds, default=86400.0, metavar="TIME", help="24h, 3d; default 24h")
    listing.add_argument("--limit", type=int, default=100, metavar="N", help="the newest N keys; default 100")
    check = kind("check", "what would one attempt meet? 0: no wait, 1: it would wait, 75: nobody can say")
    _attempt_arguments(check)
    allow = kind("allow", "let pass at once: network, domain, mailbox, or to:recipient")
    allow.add_argument("entry", metavar="ENTRY")
    allow.add_argument("--for", dest="lifetime", type=_seconds, metavar="TIME", help="4h, 30d; absent: until removed")
    allow.add_argument("--reason", default="", help="why, for those who read the list")
    allow.add_argument("--remove", action="store_true", help="take the entry away")
    passing = kind("pass", "one key, or a party such as spf:example.org, has passed")
    _attempt_arguments(passing)
    clear = kind("clear", "forget what is known of one key or party")
    _attempt_arguments(clear)
    stats = kind("stats", "how much, how long, and whether the nodes share it; 1: something is wrong")
    stats.add_argument("--since", type=_seconds, default=86400.0, metavar="TIME", help="24h, 3d; default 24h")
    stats.add_argument("--log", type=Path, nargs="+", default=[], metavar="FILE", help="compare these nodes' logs")
    seed = kind("seed", "parties that need not wait: domains, networks or mailboxes, one a line")
    seed.add_argument("file", type=Path, metavar="FILE")
    seed.add_argument("--dry-run", action="store_true", help="only read the file")


def _attempt_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("key", nargs="?", default="", metavar="KEY", help="as list shows it; or:")
    parser.add_argument("--ip", default="", help="the client's address")
    parser.add_argument("--from", dest="path", default=None, metavar="PATH", help="reverse-path; '' is the null one")
    parser.add_argument("--to", default="", metavar="RCPT", help="recipient")
    parser.add_argument("--helo", default="", metavar="NAME", help="name in EHLO")
    parser.add_argument("--zone", type=Path, metavar="FILE", help="answer DNS from this master file; no network")


def run(args: argparse.Namespace) -> int:
    """Do it."""
    from gateway.config import load_settings
    from gateway.ports.failure import PortFailure

    if args.kind == "stats" and args.log:
        return _compare_logs(args)
    settings = load_settings(settings_path(args.config), os.environ)
    if settings.store.startswith("memory:"):
        raise CommandError(UNAVAILABLE, f"{settings.store} is in each worker's memory; nobody else can see it")
    try:
        return asyncio.run(_run(args, settings))
    except PortFailure as failure:
        raise CommandError(UNAVAILABLE, str(failure)) from failure
    except (ValueError, OSError) as error:
        raise unusable(error) from error


async def _run(args: argparse.Namespace, settings: Settings) -> int:
    from gateway.cli import greylist_keys
    from gateway.node.duties import board_of

    if args.kind == "check":
        return await greylist_keys.check(args, settings)
    board = board_of(settings)
    try:
        match args.kind:
            case "list":
                return await _list(args, settings, board)
            case "allow":
                return await _allow(args, board)
            case "stats":
                return await _stats(args, board)
            case "seed":
                return await greylist_keys.seed(args, settings)
            case _:
                return await greylist_keys.mark(args, settings, board)
    finally:
        await board.close()


# ---- list and allow


async def _list(args: argparse.Namespace, settings: Settings, board: Board) -> int:
    from gateway.cluster.greylist import allowed, journal, seal_of

    entries = [
        {"entry": entry, **said}
        for entry, said in (await allowed(board)).items()
        if args.state in ("allowed", "all") and args.text in entry
    ]
    events: list[Event] = []
    strangers: set[str] = set()
    if args.state != "allowed":
        events, strangers = await journal(board, seal_of(settings.shared_secret), time.time() - args.since)
    keys = _by_key([event for event in events if args.text in event.key])
    keys = [key for key in keys if args.state in ("all", "waiting" if key["state"] in _WAITING else "passed")]
    keys = keys[-args.limit :]
    if args.output == "json":
        show_json("greylist-list", {"keys": keys, "allowed": entries, "unreadable_nodes": sorted(strangers)})
        return OK
    rows = [("STATE", "FIRST SEEN (UTC)", "LAST SEEN (UTC)", "TRIES", "NODES", "KEY")]
    for key in keys:
        seen = (_clock(key["first"]), _clock(key["last"]), str(key["tries"]), ",".join(key["nodes"]))
        rows.append((key["state"], *seen, printable(key["key"])))
    if args.state != "allowed":
        show_columns(rows)
    for node in sorted(strangers):
        print(f"what {node} tells cannot be read: its secret is another")
    if entries:
        print()
        until = [_clock(entry["until"]) if entry["until"] else "-" for entry in entries]
        passes = [
            (entry["entry"], end, entry["by"], entry["reason"]) for entry, end in zip(entries, until, strict=True)
        ]
        show_columns([("ALLOWED", "UNTIL (UTC)", "BY", "REASON"), *passes])
    return OK


def _by_key(events: Sequence[Event]) -> list[dict[str, Any]]:
    """One row a key, by its last attempt. Events are oldest first."""
    keys: dict[str, dict[str, Any]] = {}
    for event in events:
        row = keys.pop(event.key, None) or {"key": event.key, "first": event.time, "tries": 0, "nodes": []}
        row |= {"state": event.state, "last": event.time, "tries": row["tries"] + 1}
        row |= {"waited": event.waited, "nodes": sorted({*row["nodes"], event.node})}
        keys[event.key] = row
    return list(keys.values())


async def _allow(args: argparse.Namespace, board: Board) -> int:
    from gateway.checks.greylist_allow import parse_entry
    from gateway.cluster.greylist import ALLOWED, allow

    try:
        entry = parse_entry(args.entry)
    except ValueError as error:
        raise CommandError(USAGE, str(error)) from error
    if args.remove:
        if await board.read(ALLOWED, entry) is None:
            raise CommandError(NEGATIVE, f"{entry} is not allowed")
        await board.erase(ALLOWED, entry)
    else:
        now = await board.now()
        value = {"reason": args.reason, "by": _who(), "at": now, "until": now + args.lifetime if args.lifetime else 0}
        await allow(board, entry, value, args.lifetime)
    if args.output == "json":
        show_json("greylist-allow", {"entry": entry, "removed": args.remove})
    else:
        print(f"{entry}: {'waits like others again' if args.remove else 'never waits'}; the nodes know in some seconds")
    return OK


# ---- stats


async def _stats(args: argparse.Namespace, board: Board) -> int:
    from gateway.cli.greylist_figures import Figures
    from gateway.cluster.greylist import hours

    oldest = int((await board.now() - args.since) // 3600)
    figures = Figures.of([hour for hour in await hours(board) if hour.hour >= oldest])
    if args.output == "json":
        show_json("greylist-stats", figures.as_json())
    else:
        figures.show()
    return NEGATIVE if figures.warnings else OK


def _compare_logs(args: argparse.Namespace) -> int:
    from gateway.cli.greylist_figures import firsts_twice

    try:
        twice = firsts_twice(args.log, args.since)
    except OSError as error:
        raise unusable(error) from error
    if args.output == "json":
        show_json("greylist-logs", {"first_on_two_nodes": twice})
    else:
        for found in twice:
            print(printable(f"{found['key']}: first on {found['nodes'][0]} and on {found['nodes'][1]}"))
        print(f"{len(twice)} keys were first on two nodes")
    return NEGATIVE if twice else OK


def _seconds(text: str) -> float:
    number, unit = (text[:-1], text[-1]) if text and text[-1] in _UNITS else (text, "s")
    try:
        seconds = float(number) * _UNITS[unit]
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e10:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 90s, 15m, 4h or 30d")
    return seconds


def _clock(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds))


def _who() -> str:
    return os.environ.get("SUDO_USER") or os.environ.get("USER") or f"uid {os.getuid()}"
