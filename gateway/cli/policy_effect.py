"""``mxgw policy diff FILE --since 24h``: what a candidate would have done with decisions that nodes have recorded.

They come from the cluster's decision journal on the board, or from nodes' JSON logs (``--log FILE``, ``-`` for standard
input). What cannot be replayed is counted by its reason, never guessed.

Known gaps: the journal on the board lags by up to ``decisions.flush`` seconds.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.cli.block import at, over_board, seconds_of
from gateway.cli.output import CommandError, settings_path
from gateway.cli.policy_shadow import show_tally, tally_json
from gateway.cli.sysexits import USAGE

if TYPE_CHECKING:
    from gateway.cluster.journal import Found
    from gateway.evidence.effect import Effect
    from gateway.policy.model import Policy
    from gateway.ports.board import Board


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which decisions."""
    parser.add_argument("--since", metavar="TIME", help="replay the decisions of the last 30m, 24h or 7d too")
    parser.add_argument(
        "--log", type=Path, action="append", default=[], metavar="FILE", help="a node's JSON log in place of the board"
    )


def effect_json(args: argparse.Namespace, before: Policy, after: Policy) -> dict[str, Any]:
    """For programs; {} where no decisions were asked for. Raises CommandError."""
    from gateway.cli.track import about

    if (asked := _asked(args)) is None:
        return {}
    effect, found = _effect(args, asked, before, after)
    return {
        "effect": {
            **tally_json(effect.tally),
            "first": at(effect.first),
            "last": at(effect.last),
            "left_out": dict(effect.left_out),
            "unchecked": effect.unchecked,
            **about(found),
            "found_by_settings_in_force": _settings(before, after),
        }
    }


def show_effect(args: argparse.Namespace, before: Policy, after: Policy) -> None:
    """For people. Raises CommandError."""
    from gateway.cli.track import show_reach
    from gateway.cluster.journal import MOST
    from gateway.evidence.recorded import WHY

    if (asked := _asked(args)) is None:
        return
    effect, found = _effect(args, asked, before, after)
    span = (
        f"decisions from {at(effect.first)} to {at(effect.last)}: " if effect.tally.judged else "recorded decisions: "
    )
    print(span, end="")
    show_tally(effect.tally)
    for why, count in sorted(effect.left_out.items()):
        print(f"{count} not replayed: {WHY[why]}")
    if effect.unchecked:
        print(f"{effect.unchecked} were decided by another policy than the one in force; taken as recorded")
    if found.missed:
        print(f"{found.missed} are not in the journal: there were too many at a time")
    if found.strangers:
        print(f"not readable with the secret of these settings: the lines of {', '.join(sorted(found.strangers))}")
    if len(found.records) >= MOST:
        print(f"these are the newest {MOST}: say a shorter --since")
    show_reach(found)
    if names := _settings(before, after):
        print(f"these checks have other settings; what they found is what they find now: {', '.join(names)}")


def _settings(before: Policy, after: Policy) -> list[str]:
    from gateway.policy.compare import differing_settings

    return list(differing_settings(before, after))


def _asked(args: argparse.Namespace) -> float | None:
    """Since when, seconds since 1970; None: nothing was asked for."""
    if args.since is not None:
        return time.time() - seconds_of(args.since, "--since")
    return 0.0 if args.log else None


def _effect(args: argparse.Namespace, since: float, before: Policy, after: Policy) -> tuple[Effect, Found]:
    from gateway.cli.track import from_logs
    from gateway.cluster.journal import Found
    from gateway.evidence.effect import effect_of

    if args.log:
        return effect_of(from_logs(args.log), after, [before], since), Found((), 0, frozenset())
    found = _from_board(args, since)
    return effect_of(reversed(found.records), after, [before], since), found


def _from_board(args: argparse.Namespace, since: float) -> Found:
    from gateway.cluster.journal import decisions, seal_of
    from gateway.config import load_settings

    settings = load_settings(settings_path(args.config), os.environ)
    if not settings.decisions.lines:
        raise CommandError(USAGE, "decisions.lines is 0: nothing is kept on the board; say --log FILE")

    async def work(board: Board) -> Found:
        return await decisions(board, seal_of(settings.shared_secret), since)

    return over_board(args, work)
