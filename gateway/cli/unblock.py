"""``mxgw unblock``: lift an emergency block on all nodes. 1 where there was none.

Known gaps: it takes the same words that ``mxgw blocks`` shows; a part of a blocked network cannot be lifted.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from gateway.cli.block import over_board, what_of
from gateway.cli.output import CommandError, config_argument, output_argument, show_json
from gateway.cli.sysexits import NEGATIVE, OK

if TYPE_CHECKING:
    from gateway.ports.board import Board


def arguments(parser: argparse.ArgumentParser) -> None:
    """What."""
    parser.add_argument("what", metavar="IP|CIDR|DOMAIN|ADDRESS", help="as mxgw blocks shows it")
    config_argument(parser)
    output_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Take it off the board."""
    from gateway.cluster.blocks import take
    from gateway.cluster.membership import NobodyThereError, somebody

    what = what_of(args.what)

    async def work(board: Board) -> bool:
        if await take(board, what):
            return True
        if not await somebody(board):
            raise NobodyThereError
        return False

    if not over_board(args, work):
        raise CommandError(NEGATIVE, f"{what} is not blocked")
    if args.output == "json":
        show_json("unblock", {"what": what})
    else:
        print(f"unblocked: {what}")
    return OK
