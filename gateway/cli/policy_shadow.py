"""``mxgw policy shadow``: judge live mail with a candidate too, on all nodes, and see what would change.

``shadow FILE`` begins (in place of one that runs), ``shadow`` alone shows what was counted up to now, ``shadow --stop``
ends it. Replies never change. What would change is what clients and mailstores would see: another action, or a
refusal with another reply.

Known gaps: checks whose settings differ are judged by what they found with the settings in force; ``mxgw replay`` runs
them anew.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.cli.block import at, over_board, seconds_of, who
from gateway.cli.output import CommandError, config_argument, output_argument, show_columns, show_json
from gateway.cli.sysexits import NEGATIVE, OK, USAGE

if TYPE_CHECKING:
    from gateway.cluster.shadow import Report
    from gateway.policy.compare import Tally


def arguments(parser: argparse.ArgumentParser) -> None:
    """The candidate, and how long."""
    parser.add_argument("file", nargs="?", type=Path, metavar="FILE", help="the candidate; absent: show the report")
    parser.add_argument("--for", dest="duration", default="24h", metavar="TIME", help="90s, 30m, 4h or 7d; default 24h")
    parser.add_argument("--stop", action="store_true", help="end it; what was counted can be read for a week")
    config_argument(parser)
    output_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Begin, end or show."""
    if args.file is not None and args.stop:
        raise CommandError(USAGE, "say FILE or --stop, not both")
    if args.file is not None:
        return _start(args)
    return _stop(args) if args.stop else _report(args)


def _start(args: argparse.Namespace) -> int:
    from gateway.cluster.shadow import start
    from gateway.policy.load import load

    candidate = load(args.file)
    text = args.file.read_text(encoding="utf-8")
    seconds, name = seconds_of(args.duration), args.file.name
    order = over_board(args, lambda board: start(board, text, name, candidate.digest, who(), seconds))
    if args.output == "json":
        show_json("policy-shadow", {"digest": order.digest, "name": order.name, "until": at(order.until)})
    else:
        print(f"{order.name} ({order.digest[:8]}) judges beside the policy in force until {at(order.until)}")
    return OK


def _stop(args: argparse.Namespace) -> int:
    from gateway.cluster.shadow import stop

    ended = over_board(args, stop)
    if args.output == "json":
        show_json("policy-shadow", {"ended": ended is not None})
    else:
        print(f"ended: {ended.name} ({ended.digest[:8]})" if ended else "there is no shadow policy")
    return OK if ended else NEGATIVE


def _report(args: argparse.Namespace) -> int:
    from gateway.cluster.shadow import report

    found = over_board(args, report)
    if found is None:
        raise CommandError(NEGATIVE, "there is no shadow policy")
    if args.output == "json":
        show_json("policy-shadow", _json(found))
        return OK
    order = found.order
    state = f"until {at(order.until)}" if found.running else f"ended {at(order.until)}"
    print(f"{order.name} ({order.digest[:8]}) since {at(order.since)} by {order.by}, {state}")
    show_columns([(node, said.fault or f"{said.tally.judged} judged") for node, said in found.nodes.items()])
    show_tally(found.total)
    return OK


def _json(found: Report) -> dict[str, Any]:
    order = found.order
    return {
        "digest": order.digest,
        "name": order.name,
        "by": order.by,
        "since": at(order.since),
        "until": at(order.until),
        "running": found.running,
        "nodes": {node: {"judged": said.tally.judged, "fault": said.fault} for node, said in found.nodes.items()},
        **tally_json(found.total),
    }


def tally_json(tally: Tally) -> dict[str, Any]:
    """For programs: counts, the balance by word, and the changes."""
    said = tally.as_json()
    return {
        **{key: said[key] for key in ("judged", "changed", "other")},
        "balance": tally.balance,
        "changes": said["rows"],
    }


def show_tally(tally: Tally) -> None:
    """For people: the balance in one line, then a row for each kind of change."""
    balance = ", ".join(f"{word} {number:+d}" for word, number in tally.balance.items() if number)
    print(f"{tally.judged} judged, {tally.changed} would change{f': {balance}' if balance else ''}")
    rows = [("COUNT", "AT", "NOW", "WOULD BE", "RULES", "EXAMPLES")]
    for row in tally.as_json()["rows"]:
        now, would = (_words(row[key], row[f"reason_{key}"]) for key in ("before", "after"))
        rows.append(
            (str(row["count"]), row["phase"], now, would, " ".join(row["rules"]) or "-", " ".join(row["examples"]))
        )
    if len(rows) > 1:
        show_columns(rows)
    if tally.other:
        print(f"and {tally.other} more of other kinds")


def _words(action: str, reason: str) -> str:
    return f"{action} ({reason})" if reason else action
