"""``mxgw replay JOURNAL``: live recorded transactions again, offline, and show each difference.

With the policy that decided everything must come out as it was: 1 when anything does not. With ``--policy FILE`` the
differences show what that policy would have done.

Known gaps: a recording without content takes what the checks of the content had found.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.cli.output import CommandError, output_argument, show_columns, show_json, unusable
from gateway.cli.sysexits import DATAERR, NEGATIVE, OK

if TYPE_CHECKING:
    from gateway.evidence.replay import Replayed

_SHOWN = 400


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which recordings, and by which policy."""
    parser.add_argument("journal", type=Path, metavar="JOURNAL", help="a file of recordings; - is standard input")
    parser.add_argument("--policy", type=Path, metavar="FILE", help="in place of the policy that decided")
    parser.add_argument("--id", metavar="ID", help="only this transaction, and show it whole")
    output_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Replay and compare."""
    from gateway.node.replaying import replay_lines
    from gateway.policy.load import load

    policy = load(args.policy) if args.policy else None
    try:
        text = sys.stdin.read() if str(args.journal) == "-" else args.journal.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise unusable(error, args.journal) from error
    lines = text.splitlines()
    if args.id:
        lines = [line for line in lines if f'"qid":"{args.id}"' in line or "recorded-policy" in line[:60]]
    outcome = replay_lines(lines, policy)
    found = outcome.replayed
    if not found and not outcome.faults:
        raise CommandError(DATAERR, f"{args.journal}: no recordings")
    changed = [one for one in found if one.differences]
    if args.output == "json":
        values = {
            "replayed": len(found),
            "different": len(changed),
            "faults": outcome.faults,
            "transactions": [_json(one, whole=bool(args.id)) for one in found],
        }
        show_json("replay", values)
    else:
        _show(found, outcome.faults)
    if outcome.faults:
        return DATAERR
    return NEGATIVE if changed else OK


def _json(one: Replayed, *, whole: bool) -> dict[str, Any]:
    said = {
        "id": one.recording.id,
        "digest": one.digest,
        "verdict": one.record.get("verdict", ""),
        "reply": one.record.get("reply", ""),
        "content_checked": one.whole,
        "differences": [{"field": field, "recorded": was, "replayed": now} for field, was, now in one.differences],
        "not_recorded": list(one.unasked),
    }
    return {**said, "record": dict(one.record)} if whole else said


def _show(found: list[Replayed], faults: list[str]) -> None:
    for one in found:
        if one.differences:
            print(f"{one.recording.id}: {one.recording.record['verdict']} -> {one.record.get('verdict', '')}")
            show_columns([(f"  {field}", f"{_short(was)} -> {_short(now)}") for field, was, now in one.differences])
        for question in one.unasked:
            print(f"{one.recording.id}: not recorded: {_short(question)}")
    for fault in faults:
        print(fault, file=sys.stderr)
    parts = sum(not one.whole for one in found)
    note = f", {parts} without content (its checks were taken as recorded)" if parts else ""
    print(f"{len(found)} replayed, {sum(bool(one.differences) for one in found)} different{note}")


def _short(value: Any) -> str:
    text = "".join(char if char.isprintable() else "?" for char in str(value))
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
