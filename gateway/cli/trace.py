"""``mxgw trace --ip CIDR``: commands and replies of a client's sessions on all nodes, live; never content.

Sessions that are open already are shown from now on. It ends after ``--for``; when it is killed, the nodes stop within
seconds by themselves.

Known gaps: replies and commands of one session come in their order; those of several nodes by their arrival here.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import sys
import time
from dataclasses import asdict
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

from gateway.cli.block import at, over_board, seconds_of
from gateway.cli.output import CommandError, config_argument, settings_path
from gateway.cli.sysexits import NEGATIVE, OK, USAGE
from gateway.cli.track import lines_argument

if TYPE_CHECKING:
    from gateway.cluster.watching import Said
    from gateway.ports.board import Board

_POLL = 0.5
_RENEW = 2.0


def arguments(parser: argparse.ArgumentParser) -> None:
    """Whose sessions, and how long."""
    parser.add_argument("--ip", required=True, metavar="CIDR", help="the client's address or network")
    parser.add_argument("--for", dest="duration", default="10m", metavar="TIME", help="end after so long; default: 10m")
    parser.add_argument("--max", type=int, default=10, metavar="N", help="show so many sessions; default: 10")
    parser.add_argument("--once", action="store_true", help="end when the first session has ended")
    config_argument(parser)
    lines_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Follow."""
    from gateway.cluster.watching import Watch, leave, renew, said_after, seal_of
    from gateway.config import load_settings

    try:
        network = str(ip_network(args.ip.strip("[]"), strict=False))
    except ValueError as error:
        raise CommandError(USAGE, f"--ip {args.ip}: an address or a network such as 192.0.2.0/24") from error
    seconds = seconds_of(args.duration)
    seal = seal_of(load_settings(settings_path(args.config), os.environ).shared_secret)
    watch = Watch(f"trace-{secrets.token_hex(6)}", network)
    kept: list[dict[str, Any]] = []

    async def work(board: Board) -> set[str]:
        shown: set[str] = set()
        after, end, renewed = "", time.monotonic() + seconds, float("-inf")
        try:
            while time.monotonic() < end:
                if time.monotonic() >= renewed + _RENEW:
                    await renew(board, watch)
                    renewed = time.monotonic()
                after, lines, dropped = await said_after(board, seal, watch, after)
                if dropped:
                    print(f"{dropped} lines were dropped: there were too many at a time", file=sys.stderr, flush=True)
                for line in lines:
                    if line.session not in shown and len(shown) >= args.max:
                        continue
                    shown.add(line.session)
                    _show(args.output, line, kept)
                if args.once and any(line.way == "-" and line.text.startswith("ended") for line in lines):
                    break
                await asyncio.sleep(_POLL)
        finally:
            await leave(board, watch)
        return shown

    shown = over_board(args, work)
    if args.output == "json":
        print(json.dumps({"schema": "mxgw/v1/trace", "lines": kept}, indent=2))
    return OK if shown else NEGATIVE


def _show(output: str, line: Said, kept: list[dict[str, Any]]) -> None:
    from gateway.mail.visible import visible

    if output == "text":
        way = {"C": "C:", "S": "S:"}.get(line.way, "--")
        node = line.node.partition(".")[0]
        print(f"{at(line.at)[11:19]}  {node}  {line.session}  {line.client}  {way} {visible(line.text)}", flush=True)
        return
    if output == "jsonl":
        print(json.dumps({"schema": "mxgw/v1/trace.lines", **asdict(line)}), flush=True)
    else:
        kept.append(asdict(line))
