"""``mxgw policy push|unpush|rollback|rollout|history|diff``: one policy for all nodes at one time.

Known gaps: cases are run by this command, not by each node.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.cli import policy_effect
from gateway.cli.block import at, over_board, who
from gateway.cli.cluster import node_named
from gateway.cli.output import (
    CommandError,
    cannot_read,
    config_argument,
    output_argument,
    show_columns,
    show_json,
)
from gateway.cli.policy_files import CASES, PACKAGED, policy_in_force
from gateway.cli.sysexits import CONFIG, DATAERR, NEGATIVE, OK, TEMPFAIL, UNAVAILABLE

if TYPE_CHECKING:
    from gateway.cluster.rollout import Generation, Rollout, State
    from gateway.policy.model import Policy
    from gateway.ports.board import Board

_STEP = 0.3
_SLACK = 90.0
_TELLING = 8.0


def add_actions(actions: Any) -> None:
    """Below ``mxgw policy``."""
    push = actions.add_parser("push", help="bring a file into force on all nodes at one time")
    push.add_argument("file", type=Path, metavar="FILE")
    push.add_argument("--cases", type=Path, metavar="DIR", help="absent: the folder cases beside FILE, if there is one")
    push.set_defaults(act=_push)
    unpush = actions.add_parser("unpush", help="back to each node's own file")
    unpush.set_defaults(act=_unpush)
    rollback = actions.add_parser("rollback", help="back to an earlier generation, as a new one")
    rollback.add_argument("generation", nargs="?", type=int, metavar="N", help="absent: the one before")
    rollback.set_defaults(act=_rollback)
    for action in (push, unpush, rollback):
        action.add_argument("--reason", required=action is push, default="", metavar="TEXT", help="for the history")
        action.add_argument("--canary", metavar="NODE", help="it goes first, and back if its rates leave their band")
        action.add_argument("--watch", type=float, default=120.0, metavar="SECONDS", help="how long; default: 120")
        action.add_argument(
            "--band", type=float, default=10.0, metavar="PERCENT", help="points above the others; default: 10"
        )
        action.add_argument(
            "--without", action="append", default=[], metavar="NODE", help="do not wait for this node: it is dead"
        )
        action.add_argument("--wait", action="store_true", help="until it is in force; 1 if it was stopped")
    rollout = actions.add_parser("rollout", help="the roll-out under way, or how the last one ended")
    rollout.set_defaults(act=_show_rollout)
    history = actions.add_parser("history", help="what was pushed, by whom, why, and what became of it")
    history.add_argument("--limit", type=int, default=50, metavar="N")
    history.set_defaults(act=_history)
    diff = actions.add_parser("diff", help="what a candidate would change; 1 where it does")
    diff.add_argument("file", metavar="FILE|N", help="the candidate: a file or a generation")
    diff.add_argument("base", nargs="?", metavar="FILE|N", help="compared with; absent: the policy in force")
    policy_effect.arguments(diff)
    diff.set_defaults(act=_diff)
    for action in (push, unpush, rollback, rollout, history, diff):
        config_argument(action)
        output_argument(action)


# ---- begin one


def _push(args: argparse.Namespace) -> int:
    from gateway.cluster.rollout import Generation
    from gateway.cluster.rollout_board import Bundle
    from gateway.policy.load import load_text

    try:
        text = args.file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(CONFIG, cannot_read(args.file, error)) from error
    policy = load_text(text, args.file.name)
    number = _run_cases(args, policy)
    target = Generation(digest=policy.digest, name=args.file.name, reason=args.reason[:200], by=who())

    async def work(board: Board) -> Rollout | None:
        from gateway.cluster.rollout_board import state_of

        current = (await state_of(board)).current
        if current.digest == policy.digest:
            return None
        return await _begin(board, args, target, Bundle(text, args.file.name))

    if args.output != "json":
        print(f"{args.file.name}: sound, {number} cases passed, digest {policy.digest[:8]}")
    return _follow(args, over_board(args, work))


def _run_cases(args: argparse.Namespace, policy: Policy) -> int:
    """How many cases there were for it. Raises CommandError where one fails, or those asked for are not there."""
    from gateway.policy.casefile import run_case_files
    from gateway.policy.load import load_packaged

    stem, beside = args.file.stem, args.file.parent / "cases"
    folder = args.cases or (beside if beside.is_dir() else CASES if stem in PACKAGED else None)
    if folder is None:
        return 0
    paths = sorted(folder.rglob("*.yaml"))
    if args.cases and not folder.is_dir():
        raise CommandError(CONFIG, f"--cases {folder}: there is no such folder; nothing was pushed")
    policies = {name: load_packaged(name) for name in PACKAGED} | {stem: policy}
    results = run_case_files(paths, policies)
    if args.cases and not results:
        raise CommandError(DATAERR, f"--cases {folder}: holds no case (*.yaml); nothing was pushed")
    failed = [result for result in results if not result.passed]
    if failed:
        raise CommandError(NEGATIVE, "\n".join([f"{len(failed)} cases fail; nothing was pushed", *map(str, failed)]))
    return len(results)


def _unpush(args: argparse.Namespace) -> int:
    from gateway.cluster.rollout import Generation

    target = Generation(reason=args.reason[:200] or "unpush", by=who())

    async def work(board: Board) -> Rollout | None:
        from gateway.cluster.rollout_board import state_of

        if not (await state_of(board)).current.digest:
            return None
        return await _begin(board, args, target, None)

    return _follow(args, over_board(args, work))


def _rollback(args: argparse.Namespace) -> int:
    async def work(board: Board) -> Rollout:
        from gateway.cluster.rollout import Generation
        from gateway.cluster.rollout_board import bundle_of, state_of

        state = await state_of(board)
        number = args.generation if args.generation is not None else state.previous.number
        back = state.previous if number == state.previous.number else await _generation(board, number)
        if not state.current.number or number == state.current.number:
            raise CommandError(NEGATIVE, f"{state.current.label} is in force; there is nothing to go back to")
        if back.digest and await bundle_of(board, back.digest) is None:
            raise CommandError(UNAVAILABLE, f"the text of {back.label} is not kept any more")
        reason = args.reason[:200] or f"back to generation {number}"
        return await _begin(board, args, Generation(digest=back.digest, name=back.name, reason=reason, by=who()), None)

    return _follow(args, over_board(args, work))


async def _begin(board: Board, args: argparse.Namespace, target: Generation, bundle: Any) -> Rollout:
    from gateway.cluster.membership import NobodyThereError, lost, members
    from gateway.cluster.rollout import Rollout
    from gateway.cluster.rollout_board import UnderWay, begin
    from gateway.ports.failure import PortFailure

    without = tuple([await node_named(board, name) for name in args.without])
    live, silent = set(await members(board)), set(await lost(board))
    if not live - set(without):
        if not live:
            raise NobodyThereError
        raise CommandError(UNAVAILABLE, "no node is left: --without names all that live")
    if missing := sorted(silent - set(without)):
        raise CommandError(
            TEMPFAIL, f"{missing[0]} is silent, nobody knows what it serves; --without {missing[0]} where it is dead"
        )
    canary = await node_named(board, args.canary) if args.canary else ""
    plan = Rollout("", target, canary=canary, watch=args.watch, band=args.band / 100, without=without)
    try:
        return await begin(board, target, bundle, plan)
    except UnderWay as error:
        raise CommandError(TEMPFAIL, str(error)) from error
    except PortFailure as failure:
        raise CommandError(UNAVAILABLE, f"{failure}; it may have begun, mxgw policy rollout tells") from failure


# ---- follow it


def _follow(args: argparse.Namespace, rollout: Rollout | None) -> int:
    if rollout is None:
        return _said(args, "it is in force already", {"outcome": "unchanged"}, OK)
    label = rollout.target.label
    if not args.wait:
        said = {"generation": rollout.target.number, "digest": rollout.target.digest, "outcome": "begun"}
        return _said(args, f"{label}: begun; mxgw policy rollout shows how it goes", said, OK)

    async def work(board: Board) -> tuple[State, list[str]]:
        from gateway.cluster.rollout_board import state_of
        from gateway.ports.failure import PortFailure

        end = asyncio.get_running_loop().time() + args.watch + _SLACK
        seen, told = f"{rollout.phase}, and no node goes on", False
        while asyncio.get_running_loop().time() < end:
            try:
                state = await state_of(board)
                if state.rollout is None or state.rollout.id != rollout.id:
                    if not _in_force(state, rollout):
                        return state, []
                    await asyncio.sleep(max(0.0, state.current.at - await board.now()))
                    return state, await _late(board, rollout)
                seen = f"{state.rollout.phase}, and no node goes on"
            except PortFailure as failure:
                seen = f"{failure}; what becomes of it is not known, mxgw policy rollout tells"
                if not told:
                    # the nodes go on when the store is back, or a fail-over has made a replica the primary
                    print(f"{label}: {failure}; waiting", file=sys.stderr)
                told = True
            await asyncio.sleep(_STEP)
        raise CommandError(TEMPFAIL, f"{label}: {seen}")

    state, late = over_board(args, work)
    return _say_ended(args, state, rollout, late)


def _in_force(state: State, rollout: Rollout) -> bool:
    return (state.current.number, state.current.digest) == (rollout.target.number, rollout.target.digest)


async def _late(board: Board, rollout: Rollout) -> list[str]:
    """The nodes whose heartbeat does not tell of the new generation some seconds after the switch."""
    from gateway.cluster.membership import members

    end = asyncio.get_running_loop().time() + _TELLING
    while True:
        number, said = rollout.target.number, await members(board)
        late = [node for node in said if said[node].get("generation") != number and node not in rollout.without]
        if not late or asyncio.get_running_loop().time() > end:
            return late
        await asyncio.sleep(_STEP)


def _say_ended(args: argparse.Namespace, state: State, rollout: Rollout, late: list[str]) -> int:
    number, label = rollout.target.number, rollout.target.label
    if _in_force(state, rollout):
        where = f"in force, but {', '.join(late)} does not say so" if late else "in force on all nodes"
        values = {"generation": number, "outcome": "done", "why": "", "late": late}
        return _said(args, f"{label}: {where} since {at(state.current.at)}", values, OK)
    later = max(state.current.number, state.ended.number if state.ended else 0) >= number or state.rollout
    if state.ended and state.ended.id == rollout.id:
        outcome, why = state.ended.outcome, state.ended.why
    elif later:
        outcome, why = "overtaken", "another one came after it"
    else:
        outcome, why = "lost", "the store has forgotten it, as a fail-over may; push it again"
    values = {"generation": number, "outcome": outcome, "why": why}
    return _said(args, f"{label}: {outcome}: {why}; {state.current.label} is in force", values, NEGATIVE)


def _said(args: argparse.Namespace, text: str, values: dict[str, Any], code: int) -> int:
    if args.output == "json":
        show_json("policy-rollout", values)
    else:
        print(text)
    return code


def _show_rollout(args: argparse.Namespace) -> int:
    from gateway.cluster.rollout_board import look

    view = over_board(args, look)
    rollout, ended, current = view.state.rollout, view.state.ended, view.state.current
    values: dict[str, Any] = {
        "in_force": {"generation": current.number, "digest": current.digest},
        "rollout": rollout and {"generation": rollout.target.number, "phase": rollout.phase, "canary": rollout.canary},
        "nodes": {node: said.stage for node, said in view.said.items() if rollout and said.id == rollout.id},
        "last": ended and {"generation": ended.number, "outcome": ended.outcome, "why": ended.why},
    }
    if args.output == "json":
        show_json("policy-rollout", values)
        return OK
    print(f"in force: {current.label}" + (f" since {at(current.at)}" if current.at else ""))
    if rollout:
        print(f"under way: {rollout.target.label}: {rollout.phase}")
        show_columns([(node, stage) for node, stage in values["nodes"].items()])
    elif ended:
        print(f"last: generation {ended.number} {ended.outcome} {ended.why}".rstrip())
    return OK


# ---- look back


async def _lines(board: Board, limit: int) -> list[dict[str, Any]]:
    from gateway.cluster.rollout_board import HISTORY

    return [{"time": at(line.time), **json.loads(line.value)} for line in await board.latest(HISTORY, limit)]


async def _generation(board: Board, number: int) -> Generation:
    from gateway.cluster.rollout import Generation

    if number == 0:
        return Generation()
    for line in await _lines(board, 500):
        if line["generation"] == number:
            return Generation(number, line["digest"], line["name"])
    raise CommandError(NEGATIVE, f"there is no generation {number} in the history")


def _history(args: argparse.Namespace) -> int:
    async def work(board: Board) -> list[dict[str, Any]]:
        return await _lines(board, args.limit)

    lines = over_board(args, work)
    if args.output == "json":
        show_json("policy-history", {"events": lines})
        return OK
    rows = [
        (line["time"], str(line["generation"]), line["digest"][:8] or "own", line["event"], line["by"], line["why"])
        for line in lines
    ]
    show_columns([("TIME", "GEN", "DIGEST", "EVENT", "BY", "WHY"), *rows])
    return OK


def _diff(args: argparse.Namespace) -> int:
    from gateway.policy.difference import differences

    after = _policy_of(args, args.file)
    before = _policy_of(args, args.base)
    lines = differences(before, after)
    if args.output == "json":
        values = {"before": before.digest, "after": after.digest, "differences": lines}
        show_json("policy-diff", {**values, **policy_effect.effect_json(args, before, after)})
    else:
        print(f"--- {before.source or 'in force'} ({before.digest[:8]})   +++ {after.source} ({after.digest[:8]})")
        for line in lines:
            print(line)
        policy_effect.show_effect(args, before, after)
    return NEGATIVE if before.digest != after.digest else OK


def _policy_of(args: argparse.Namespace, what: str | None) -> Policy:
    """A file, a generation, or None: the policy in force. Raises FaultsError, CommandError."""
    from gateway.policy.load import load, load_text

    if what is not None and not what.isdecimal():
        return load(Path(what))

    async def work(board: Board) -> Policy | None:
        from gateway.cluster.rollout_board import bundle_of, state_of

        chosen = (await state_of(board)).current if what is None else await _generation(board, int(what))
        if not chosen.digest:
            return None
        bundle = await bundle_of(board, chosen.digest)
        if bundle is None:
            raise CommandError(UNAVAILABLE, f"the text of {chosen.label} is not kept any more")
        return load_text(bundle.text, chosen.label)

    return over_board(args, work) or policy_in_force(None, args.config)
