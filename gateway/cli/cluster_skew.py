"""``mxgw cluster skew``: messages by node, and who sends most of them to which node; from the board or from logs.

Known gaps: those of ``mxgw track``, whose decisions it counts.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from gateway.cli.block import seconds_of
from gateway.cli.output import config_argument, output_argument, show_columns, show_json
from gateway.cli.sysexits import NEGATIVE, OK

_MOST = 100_000


def arguments(parser: argparse.ArgumentParser) -> None:
    """How far back, and by what."""
    parser.add_argument("--since", default="24h", metavar="TIME", help="30m, 24h or 7d; default: 24h")
    parser.add_argument(
        "--by", choices=("domain", "network"), default="domain", help="of the reverse-path, or the client's"
    )
    parser.add_argument("--limit", type=int, default=20, metavar="N", help="senders that are shown; default: 20")
    parser.add_argument(
        "--log", type=Path, action="append", default=[], metavar="FILE", help="a node's JSON log; repeat"
    )
    config_argument(parser)
    output_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Count and show. 1 where there is nothing to count."""
    from gateway.cli.track import from_board, from_logs
    from gateway.evidence.skew import skew_of
    from gateway.evidence.tracking import Query
    from gateway.mail.visible import visible

    since = time.time() - seconds_of(args.since, "--since")
    records = from_logs(args.log, since) if args.log else from_board(args, Query(), since, _MOST).records
    found = skew_of(records, args.by)
    shown = found.parties[: args.limit]
    if args.output == "json":
        parties = [
            {"name": one.name, "count": one.count, "nodes": dict(one.nodes), "one_node": one.one_node} for one in shown
        ]
        show_json("cluster-skew", {"total": found.total, "nodes": dict(found.nodes), "senders": parties})
        return OK if found.total else NEGATIVE
    if not found.total:
        print("nothing found")
        return NEGATIVE
    show_columns(
        [("NODE", "MESSAGES", "SHARE"), *((n, str(c), _share(c, found.total)) for n, c in found.nodes.items())]
    )
    rows = [
        (
            visible(one.name),
            str(one.count),
            _share(one.count, found.total),
            ", ".join(f"{node} {count}" for node, count in one.nodes.items()) + (" (only)" if one.one_node else ""),
        )
        for one in shown
    ]
    show_columns([("SENDER", "MESSAGES", "SHARE", "NODES"), *rows])
    return OK


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %"
