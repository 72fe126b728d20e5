"""``mxgw explain ID``: a decision by the id that stands in the sender's bounce, asked on any node.

Each input, what each check found and how long it took, the rules, the replies, and what would have changed the verdict:
it is decided again without each rule and each finding.

Known gaps: of several recipients a record has the findings of the last one.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gateway.cli.block import over_board
from gateway.cli.output import CommandError, settings_path, show_columns
from gateway.cli.sysexits import NEGATIVE, OK
from gateway.cli.track import from_board, from_logs

if TYPE_CHECKING:
    from gateway.evidence.recall import Recall
    from gateway.policy.model import Policy
    from gateway.ports.board import Board


def recall_decision(args: argparse.Namespace) -> int:
    """Find it and tell all. Raises CommandError."""
    from gateway.cli.output import show_json
    from gateway.evidence.recall import recall
    from gateway.evidence.tracking import Query, is_of, plain_id

    ident = plain_id(args.id)
    if args.log:
        records = [record for record in from_logs([args.log]) if is_of(record, ident)][::-1]
    else:
        records = list(from_board(args, Query(id=ident), 0.0, 100).records)
    if not records:
        where = args.log or "the cluster's journal; older ones are in the nodes' logs: --log FILE"
        raise CommandError(NEGATIVE, f"{ident} is not in {where}")
    records = [record for record in records if record.get("qid") == ident] or records
    told = [(record, recall(record, _policy(args, record))) for record in reversed(records)]
    if args.output == "json":
        show_json("recall", {"decisions": [{"record": record, **again.as_json()} for record, again in told]})
        return OK
    for number, (record, again) in enumerate(told):
        print("\n" * bool(number), end="")
        _show(record, again)
    return OK


def _policy(args: argparse.Namespace, record: Mapping[str, Any]) -> Policy:
    from gateway.cluster.recalling import policy_of
    from gateway.config import load_settings
    from gateway.node.policy_keeper import policy_now
    from gateway.policy.load import load, load_packaged

    if args.policy:
        return load(args.policy)
    if args.log and not args.config:
        return load_packaged("default")
    settings = load_settings(settings_path(args.config), os.environ)
    in_force = policy_now(settings)
    if args.log:
        return in_force

    async def work(board: Board) -> Policy:
        return await policy_of(board, record, in_force)

    return over_board(args, work)


def _show(record: Mapping[str, Any], again: Recall) -> None:
    from gateway.evidence.told import facts_of, findings_of, recipients_of, rules_of
    from gateway.mail.visible import visible

    rows = [(name, value) for name, value in facts_of(record)]
    rows += [("to", f"{one.address}  {one.reply}  {one.mailstore}".rstrip()) for one in recipients_of(record)]
    show_columns([(name, visible(value)) for name, value in rows])
    found = findings_of(record)
    if found:
        print("FOUND")
        show_columns([tuple(visible(cell) for cell in ("  " + one[0], *one[1:])) for one in found])
    print("RULES")
    for rule in rules_of(record) or ["no rule hits"]:
        print(f"  {visible(rule)}")
    print(f"VERDICT  {visible(record.get('verdict', ''))} ({visible(record.get('reason', ''))})")
    print("CHANGE")
    for line in again.lines:
        print(f"  {visible(line)}")
