"""``mxgw track``: find what became of messages, on all nodes; or in nodes' JSON logs (``--log``), which are the truth.

Decisions lie on the board, sealed, for ``decisions.hours`` and in at most ``decisions.lines`` lines. Where nothing is
found the nodes are asked to write what they have gathered, and the question is put once more.

Known gaps: without ``--fresh`` what was decided within the last ``decisions.flush`` seconds may be missing.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.cli.block import at, over_board, seconds_of
from gateway.cli.output import (
    CommandError,
    config_argument,
    output_argument,
    settings_path,
    show_columns,
    show_json,
    unusable,
)
from gateway.cli.sysexits import DATAERR, NEGATIVE, OK, USAGE

if TYPE_CHECKING:
    from gateway.cluster.journal import Found
    from gateway.evidence.tracking import Query
    from gateway.ports.board import Board

_FLUSH_WAIT = 4.0
_STEP = 0.5


def arguments(parser: argparse.ArgumentParser) -> None:
    """What is known of the message."""
    query_arguments(parser)
    parser.add_argument("--msgid", default="", metavar="ID", help="Message-ID")
    parser.add_argument("--id", dest="ident", default="", metavar="ID", help="the id in a reply or in Received")
    parser.add_argument("--since", default="24h", metavar="TIME", help="30m, 24h or 7d; default: 24h")
    parser.add_argument("--limit", type=int, default=500, metavar="N", help="newest first; default: 500")
    parser.add_argument("--fresh", action="store_true", help="ask the nodes first to write what they have gathered")
    parser.add_argument("--log", type=Path, action="append", default=[], metavar="FILE", help="a JSON log; - is stdin")
    config_argument(parser)
    output_argument(parser)


def query_arguments(parser: argparse.ArgumentParser) -> None:
    """Those that ``tail`` has too."""
    parser.add_argument("--from", dest="reverse_path", default="", metavar="WHO", help="like --to; <>: null")
    parser.add_argument("--to", dest="recipient", default="", metavar="WHO", help="address, domain or pattern with *")
    parser.add_argument("--ip", default="", metavar="CIDR", help="the client's address or network")
    parser.add_argument("--verdict", default="", metavar="WORD", help="such as reject, or deferred")


def lines_argument(parser: argparse.ArgumentParser) -> None:
    """``--output text|json|jsonl`` of commands that go on: with json all is said at the end."""
    kinds = ("text", "json", "jsonl")
    parser.add_argument("-o", "--output", choices=kinds, default="text", help="for people, or whole records")


def query_of(args: argparse.Namespace) -> Query:
    """What is asked for. Raises CommandError."""
    from gateway.evidence.tracking import Query

    msgid, ident = getattr(args, "msgid", ""), getattr(args, "ident", "")
    try:
        return Query.of(args.reverse_path, args.recipient, args.ip, msgid, ident, args.verdict)
    except ValueError as error:
        raise CommandError(USAGE, str(error)) from error


def run(args: argparse.Namespace) -> int:
    """Find and show."""
    from gateway.cluster.journal import Found

    query, since = query_of(args), time.time() - seconds_of(args.since, "--since")
    if args.log:
        lines = [record for record in from_logs(args.log, since) if query.finds(record)]
        found = Found(lines[::-1][: args.limit], 0, frozenset())
    else:
        found = from_board(args, query, since, args.limit, args.fresh)
    if args.output == "json":
        show_json("track", {"records": list(found.records), **about(found)})
    else:
        _show(found)
    return OK if found.records else NEGATIVE


def rows_of(records: Iterable[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """For people."""
    from gateway.evidence.tracking import row
    from gateway.mail.visible import visible

    return [tuple(visible(cell) for cell in row(record)) for record in records]


def _show(found: Found) -> None:
    from gateway.evidence.tracking import COLUMNS

    if found.records:
        show_columns([COLUMNS, *rows_of(found.records)])
    else:
        print("nothing found")
    if found.missed:
        print(f"{found.missed} decisions of that time are in the nodes' logs only: there were too many at a time")
    if found.strangers:
        print(f"not readable with the secret of these settings: the lines of {', '.join(sorted(found.strangers))}")
    show_reach(found)


def show_reach(found: Found) -> None:
    """How far back the board reaches, where that is less than was asked for."""
    if found.oldest is not None:
        reach = f"the board reaches back to {at(found.oldest)}" if found.oldest else "the board has no decisions"
        print(f"{reach} (settings: decisions.hours, decisions.lines); older ones are in the nodes' logs: --log FILE")


def about(found: Found) -> dict[str, Any]:
    """What is not among the records, for programs."""
    reach = at(found.oldest) if found.oldest else ""
    return {"missed": found.missed, "unreadable_nodes": sorted(found.strangers), "reaches_back_to": reach}


def from_logs(paths: Iterable[Path], since: float = 0.0) -> Iterable[Mapping[str, Any]]:
    """Decision records of logs, oldest first in each. Raises CommandError."""
    from gateway.cluster.journal import NotALogError, from_log
    from gateway.evidence.recorded import seconds_of as when

    for path in paths:
        try:
            if str(path) == "-":
                yield from (record for record in from_log(sys.stdin) if when(record["time"]) >= since)
                continue
            with path.open(encoding="utf-8", errors="surrogateescape") as file:
                yield from (record for record in from_log(file) if when(record["time"]) >= since)
        except OSError as error:
            raise unusable(error, path) from error
        except NotALogError as error:
            what = "none of its lines is of a node's log (log.format: json)"
            raise CommandError(DATAERR, f"{path}: {what}") from error
        except (ValueError, KeyError) as error:
            raise CommandError(DATAERR, f"{path}: a record has no time: {error}") from error


def from_board(args: argparse.Namespace, query: Query, since: float, limit: int, fresh: bool = False) -> Found:
    """Records that the query finds, newest first. Raises CommandError."""
    from gateway.cluster.journal import decisions, seal_of
    from gateway.cluster.membership import NobodyThereError, somebody
    from gateway.cluster.watching import Watch, leave, renew
    from gateway.config import load_settings
    from gateway.evidence.recorded import seconds_of as when

    settings = load_settings(settings_path(args.config), os.environ)
    if not settings.decisions.lines:
        raise CommandError(USAGE, "decisions.lines is 0: nothing is kept on the board; say --log FILE")
    seal = seal_of(settings.shared_secret)

    def wanted(record: Mapping[str, Any]) -> bool:
        return query.finds(record) and when(str(record["time"])) >= since

    async def work(board: Board) -> Found:
        if not fresh:
            found = await decisions(board, seal, since, limit, wanted)
            if found.records:
                return found
        if not await somebody(board):
            raise NobodyThereError
        watch = Watch(f"track-{secrets.token_hex(6)}")
        await renew(board, watch)
        try:
            end = time.monotonic() + _FLUSH_WAIT
            while time.monotonic() < end:
                await asyncio.sleep(_STEP)
                found = await decisions(board, seal, since, limit, wanted)
                if found.records and not fresh:
                    break
            return found
        finally:
            await leave(board, watch)

    found = over_board(args, work)
    # nodes write their lines at different times
    records = sorted(found.records, key=lambda record: str(record["time"]), reverse=True)
    oldest = found.oldest
    if oldest and records:
        # a line is written a moment after what it holds
        oldest = min(oldest, when(str(records[-1]["time"])))
    return replace(found, records=records[:limit], oldest=oldest)
