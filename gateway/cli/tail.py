"""``mxgw tail``: decisions of all nodes as they are made, about a second or two later.

While it runs the nodes write to the board each second; when it ends, or is killed, they stop by themselves.

Known gaps: decisions that a node had to drop are in its log only; their number is shown.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import sys
import time
from typing import TYPE_CHECKING, Any

from gateway.cli.block import over_board, seconds_of
from gateway.cli.output import CommandError, config_argument, settings_path
from gateway.cli.sysexits import OK, USAGE
from gateway.cli.track import lines_argument, query_arguments, query_of, rows_of

if TYPE_CHECKING:
    from gateway.ports.board import Board

_POLL = 0.5
_RENEW = 2.0
_WIDTHS = (19, 16, 8, 15, 28, 28, 9)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which ones, and how long."""
    query_arguments(parser)
    parser.add_argument("--for", dest="duration", default="1h", metavar="TIME", help="end after so long; default: 1h")
    parser.add_argument("--max", type=int, default=0, metavar="N", help="end after so many decisions")
    config_argument(parser)
    lines_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Follow."""
    from gateway.cluster.journal import JOURNAL, page_of, seal_of
    from gateway.cluster.watching import Watch, leave, renew
    from gateway.config import load_settings

    query, seconds = query_of(args), seconds_of(args.duration)
    settings = load_settings(settings_path(args.config), os.environ)
    if not settings.decisions.lines:
        raise CommandError(USAGE, "decisions.lines is 0: nodes tell nothing; follow their logs")
    seal = seal_of(settings.shared_secret)

    async def work(board: Board) -> None:
        watch, shown = Watch(f"tail-{secrets.token_hex(6)}"), 0
        last = await board.latest(JOURNAL, 1)
        after = last[0].number if last else ""
        begun = await board.now()
        end, renewed = time.monotonic() + seconds, float("-inf")
        kept: list[Any] = []
        try:
            while time.monotonic() < end:
                if time.monotonic() >= renewed + _RENEW:
                    await renew(board, watch)
                    renewed = time.monotonic()
                for line in await board.lines(JOURNAL, after, 100):
                    after = line.number
                    page = page_of(line, seal)
                    if page is None:
                        continue
                    if page.missed:
                        print(f"{page.node} dropped {page.missed} decisions", file=sys.stderr, flush=True)
                    for record in page.records:
                        if query.finds(record) and not _old(record, begun):
                            _show(args.output, record, kept)
                            shown += 1
                            if shown == args.max:
                                return
                await asyncio.sleep(_POLL)
        finally:
            await leave(board, watch)
            if args.output == "json":
                print(json.dumps({"schema": "mxgw/v1/tail", "records": kept}, indent=2, default=str))

    over_board(args, work)
    return OK


def _old(record: Any, begun: float) -> bool:
    from gateway.evidence.recorded import seconds_of as when

    # clocks of nodes may differ a little; what a node gathered long ago is not live
    return when(str(record["time"])) < begun - 5.0


def _show(output: str, record: Any, kept: list[Any]) -> None:
    if output == "jsonl":
        print(json.dumps({"schema": "mxgw/v1/tail.records", **record}, default=str), flush=True)
    elif output == "json":
        kept.append(record)
    else:
        cells = rows_of([record])[0]
        padded = (cell.ljust(width) for cell, width in zip(cells, (*_WIDTHS, 0), strict=True))
        print("  ".join(padded).rstrip(), flush=True)
