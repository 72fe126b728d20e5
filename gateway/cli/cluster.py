"""``mxgw cluster status|drain|undrain|forget|verify|skew``: the nodes, and orders to one of them.

Known gaps: a drained node's open sessions are not ended, they end by themselves.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gateway.cli import cluster_skew, cluster_verify
from gateway.cli.block import at, nobody_there, over_board, who
from gateway.cli.output import CommandError, config_argument, output_argument, show_columns, show_json
from gateway.cli.sysexits import NEGATIVE, OK, TEMPFAIL, UNAVAILABLE

if TYPE_CHECKING:
    from gateway.ports.board import Board

_WAIT_STEP = 0.5
_OBEYED = 3.0


def arguments(parser: argparse.ArgumentParser) -> None:
    """The actions."""
    actions = parser.add_subparsers(dest="action", metavar="status|drain|undrain|forget|verify|skew", required=True)
    status = actions.add_parser("status", aliases=["nodes"], help="all nodes; 1: not alike, 69: none lives")
    drain = actions.add_parser("drain", help="a node turns new sessions away, over restarts too, until undrain")
    drain.add_argument("--reason", default="", metavar="TEXT", help="for the record; clients never see it")
    drain.add_argument("--wait", type=float, metavar="SECONDS", help="until no session is open; 75 if some still are")
    undrain = actions.add_parser("undrain", help="it serves again")
    forget = actions.add_parser("forget", help="a node that is dead is not waited for any more")
    cluster_verify.arguments(actions.add_parser("verify", help="does every node decide alike? 1 where not"))
    cluster_skew.arguments(actions.add_parser("skew", help="messages by node, and who sends them where"))
    for action in (drain, undrain, forget):
        action.add_argument("node", metavar="NODE", help="its name (`node`), or the first label of it")
    for action in (status, drain, undrain, forget):
        config_argument(action)
        output_argument(action)


def run(args: argparse.Namespace) -> int:
    """Call the action."""
    actions = {
        "status": _status,
        "nodes": _status,
        "drain": _drain,
        "undrain": _undrain,
        "forget": _forget,
        "verify": cluster_verify.run,
        "skew": cluster_skew.run,
    }
    return actions[args.action](args)


def _status(args: argparse.Namespace) -> int:
    from gateway.cluster.drift import drifts

    found = over_board(args, _all)
    nodes, state, now = found["nodes"], found["state"], found["now"]
    drift = drifts(nodes, state.current, now)
    code = NEGATIVE if drift else OK if nodes else UNAVAILABLE
    if args.output == "json":
        values = {name: {**said, "heard": round(now - said["time"], 1)} for name, said in nodes.items()}
        lost = {name: at(last) for name, last in found["lost"].items()}
        ended = state.ended
        show_json(
            "cluster-status",
            {
                "nodes": values,
                "lost": lost,
                "policy": _generation(state.current),
                "rollout": state.rollout and {**_generation(state.rollout.target), "phase": state.rollout.phase},
                "last_rollout": ended and {"number": ended.number, "outcome": ended.outcome, "why": ended.why},
                "orders": found["orders"],
                "drift": drift,
            },
        )
        return _unless_nobody(args, found, code)
    heads = ("NODE", "VERSION", "POLICY", "STATE", "SESS", "ACC/min", "DEF/min", "REJ/min", "REDIS", "UP")
    wrong = {line.partition(" ")[0].rstrip(":") for line in drift}
    rows = [heads, *(_row(name, said, now, name in wrong) for name, said in nodes.items())]
    rows += [(name, "-", "-", f"lost {_span(now - last)}", *("-",) * 6) for name, last in found["lost"].items()]
    show_columns(rows)
    if state.current.number:
        print(f"POLICY {state.current.label}, by {state.current.by or '-'}: {state.current.reason or '-'}")
    else:
        print("POLICY generation 0: each node's own file")
    if state.rollout:
        print(f"ROLLOUT {state.rollout.target.label}: {state.rollout.phase}")
    for name, said in nodes.items():
        for mailstore, seen in said.get("mailstores", {}).items():
            if not seen.get("up", True):
                print(f"DOWN {name}: {mailstore} {seen.get('detail', '')}".rstrip())
    for line in drift:
        print(f"DRIFT {line}")
    return _unless_nobody(args, found, code)


def _unless_nobody(args: argparse.Namespace, found: Mapping[str, Any], code: int) -> int:
    if not (found["nodes"] or found["lost"]):
        raise nobody_there(args)
    return code


def _generation(generation: Any) -> dict[str, Any]:
    return {
        "generation": generation.number,
        "digest": generation.digest,
        "name": generation.name,
        "reason": generation.reason,
        "by": generation.by,
        "since": at(generation.at) if generation.at else "",
    }


def _row(name: str, said: Mapping[str, Any], now: float, odd: bool) -> tuple[str, ...]:
    rates = said.get("per_minute", {})
    state = "serving" if said["ready"] else "draining" if said.get("draining") else str(said["state"])
    return (
        name,
        said["version"],
        f"{said['policy'][:8]} {'!' if odd else '='}",
        state,
        str(said["sessions"]),
        *(str(rates.get(key, "-")) for key in ("acc", "def", "rej")),
        str(said.get("store", "-")),
        _span(now - said["started"]),
    )


def _span(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{max(0, int(seconds))}s"


async def _all(board: Board) -> dict[str, Any]:
    from gateway.cluster.membership import lost, members
    from gateway.cluster.orders import orders
    from gateway.cluster.rollout_board import state_of

    return {
        "nodes": await members(board),
        "lost": await lost(board),
        "orders": await orders(board),
        "state": await state_of(board),
        "now": await board.now(),
    }


async def node_named(board: Board, text: str) -> str:
    """The full name of a node that lives, is lost or has an order. Raises CommandError, PortFailure, and
    NobodyThereError where there is none at all."""
    from gateway.cluster.membership import NODES, ROSTER, NobodyThereError
    from gateway.cluster.orders import PLACE

    names: set[str] = set()
    for place in (NODES, ROSTER, PLACE):
        names |= set(await board.entries(place))
    found = [name for name in names if name == text] or [name for name in names if name.partition(".")[0] == text]
    if len(found) == 1:
        return found[0]
    if not names:
        raise NobodyThereError
    known = ", ".join(sorted(names))
    count = "several nodes are" if found else "no node is"
    raise CommandError(UNAVAILABLE, f"{count} called {text}; there are {known}")


def _drain(args: argparse.Namespace) -> int:
    from gateway.cluster.membership import members
    from gateway.cluster.orders import drain

    async def work(board: Board) -> tuple[str, float]:
        node = await node_named(board, args.node)
        return node, await drain(board, node, args.reason, who())

    node, since = over_board(args, work)
    left: int | None = None
    if args.wait:
        end = time.monotonic() + args.wait
        while time.monotonic() < end:
            said = over_board(args, members).get(node)
            # a session may have begun before its worker heard of the order, and been counted a second later
            told = said is None or (said.get("draining") and said["time"] > since + _OBEYED)
            left = (int(said["sessions"]) if said else 0) if told else None
            if left == 0:
                break
            time.sleep(_WAIT_STEP)
    if args.output == "json":
        show_json("cluster-drain", {"node": node, "sessions": left})
    elif args.wait and left != 0:
        print(f"{node}: drains, {'no word from it yet' if left is None else f'{left} sessions are open'}")
    else:
        print(f"{node}: {'drained' if args.wait else 'drains'}")
    return TEMPFAIL if args.wait and left != 0 else OK


def _undrain(args: argparse.Namespace) -> int:
    from gateway.cluster.orders import undrain

    async def work(board: Board) -> tuple[str, bool]:
        node = await node_named(board, args.node)
        return node, await undrain(board, node)

    node, there = over_board(args, work)
    if args.output == "json":
        show_json("cluster-undrain", {"node": node, "was_draining": there})
    else:
        print(f"{node}: {'serves again' if there else 'there was no order'}")
    return OK if there else NEGATIVE


def _forget(args: argparse.Namespace) -> int:
    from gateway.cluster.membership import forget, members

    async def work(board: Board) -> str:
        node = await node_named(board, args.node)
        if node in await members(board):
            raise CommandError(NEGATIVE, f"{node} lives")
        await forget(board, node)
        return node

    node = over_board(args, work)
    if args.output == "json":
        show_json("cluster-forget", {"node": node})
    else:
        print(f"{node}: forgotten")
    return OK
