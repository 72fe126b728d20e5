"""``mxgw cluster verify``: every node replays the recorded set with its own policy and version; 1 where they differ.

``--set JOURNAL`` puts recordings of one's own on the board, which all nodes replay daily from then on; ``--packaged``
goes back to those that come with the product.

Known gaps: recordings of one's own are at most 1 MiB, compressed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli.block import at, over_board
from gateway.cli.output import (
    CommandError,
    config_argument,
    output_argument,
    settings_path,
    show_columns,
    show_json,
    unusable,
)
from gateway.cli.sysexits import DATAERR, NEGATIVE, OK, TEMPFAIL, UNAVAILABLE, USAGE

if TYPE_CHECKING:
    from gateway.cluster.verify import Comparison
    from gateway.ports.board import Board

_STEP = 0.5


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which set, and how long to wait."""
    parser.add_argument(
        "--set", type=Path, dest="journal", metavar="JOURNAL", help="recordings for all nodes from now on"
    )
    parser.add_argument("--packaged", action="store_true", help="the recordings of the product from now on")
    parser.add_argument("--wait", type=float, default=60.0, metavar="SECONDS", help="for all nodes; default: 60")
    config_argument(parser)
    output_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Order it, wait, compare."""
    from gateway.cluster.verify import run_json

    if args.journal is not None and args.packaged:
        raise CommandError(USAGE, "say --set or --packaged, not both")
    text = _text(args.journal) if args.journal is not None else None
    found = over_board(args, lambda board: _verify(board, args, text))
    if not found.said and not found.silent:
        raise CommandError(UNAVAILABLE, "no node is alive")
    if args.output == "json":
        nodes = {node: {**run_json(said), "odd": list(found.odd.get(node, ()))} for node, said in found.said.items()}
        show_json("cluster-verify", {"nodes": nodes, "silent": list(found.silent), "mismatches": found.mismatches})
    else:
        _show(found)
    if found.mismatches:
        return NEGATIVE
    return TEMPFAIL if found.silent else OK


def _text(path: Path) -> str:
    from gateway.evidence.replay import NotARecording, Recording, parse_line

    try:
        text = path.read_text(encoding="utf-8")
        found = [parse_line(line) for line in text.splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise unusable(error, path) from error
    except NotARecording as error:
        raise CommandError(DATAERR, f"{path}: {error}") from error
    if not any(isinstance(one, Recording) for one in found):
        raise CommandError(DATAERR, f"{path}: no recordings")
    return text


async def _verify(board: Board, args: argparse.Namespace, text: str | None) -> Comparison:
    from gateway.cluster.verify import compare, drop_set, give_order, live_nodes, put_set, seal_of, words
    from gateway.config import load_settings

    if text is not None:
        settings = load_settings(settings_path(args.config), os.environ)
        await put_set(board, seal_of(settings.shared_secret), text)
    elif args.packaged:
        await drop_set(board)
    order = await give_order(board)
    end = time.monotonic() + args.wait
    while True:
        live = await live_nodes(board)
        said = {node: one for node, one in (await words(board)).items() if one.order == order}
        if live <= said.keys() or time.monotonic() >= end:
            sets = sorted({one.run.set_digest for one in said.values()})
            return compare(said, sets[0] if sets else "", live)
        await asyncio.sleep(_STEP)


def _show(found: Comparison) -> None:
    rows = [("NODE", "VERSION", "POLICY", "REPLAYED", "AT", "")]
    for node, said in found.said.items():
        odd = found.odd.get(node, ())
        shown = f"DIFFERS in {len(odd)}: {' '.join(odd[:5])}" if odd else "alike"
        rows.append((node, said.run.version, said.run.policy, str(len(said.run.digests)), at(said.at), shown))
    rows += [(node, "-", "-", "-", "-", "SILENT") for node in found.silent]
    show_columns(rows)
    if not found.mismatches and not found.silent:
        print("all nodes decide alike")
