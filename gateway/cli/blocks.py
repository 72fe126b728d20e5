"""``mxgw blocks``: the emergency blocks of the cluster, or the one that holds an address, a domain or a mailbox.

Known gaps: none.
"""

from __future__ import annotations

import argparse
from ipaddress import ip_address

from gateway.cli.block import at, block_json, over_board, what_of
from gateway.cli.output import config_argument, output_argument, show_columns, show_json
from gateway.cli.sysexits import NEGATIVE, OK


def arguments(parser: argparse.ArgumentParser) -> None:
    """All, or one."""
    parser.add_argument(
        "what", metavar="IP|DOMAIN|ADDRESS", nargs="?", help="show the block that holds it; 1 where there is none"
    )
    config_argument(parser)
    output_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Read the board."""
    from gateway.cluster.blocks import BlockTable, listed

    found = over_board(args, listed)
    if args.what:
        # what has run out is gone from the board, by the board's own clock
        table = BlockTable()
        table.fill(found)
        what = what_of(args.what)
        try:
            hit = table.of_client(ip_address(args.what))
        except ValueError:
            domain = what.rpartition("@")[2]
            hit = table.of_names((domain,), (what,))
        found = (hit,) if hit else ()
    if args.output == "json":
        show_json("blocks", {"blocks": [block_json(block) for block in found]})
    else:
        rows = [(b.what, at(b.until), b.by, "".join(c if c.isprintable() else "?" for c in b.reason)) for b in found]
        show_columns([("WHAT", "UNTIL", "BY", "REASON"), *rows])
    return NEGATIVE if args.what and not found else OK
