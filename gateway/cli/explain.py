"""``mxgw explain``: what would happen to a message and why, with every check, rule and reply; nothing is delivered.

DNS and the mailstore's recipients are asked for real; with ``--zone`` or ``--offline`` nothing leaves the machine.
``mxgw explain ID`` recalls a decision of the cluster instead (``cli.recall``).
Without ``--config`` the recipients' domains count as ours and the packaged policy decides, or that of ``--policy``.

Known gaps: a first contact is assumed, since the store of the running nodes is not asked.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
from dataclasses import asdict, replace
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.cli.output import (
    CommandError,
    config_argument,
    output_argument,
    printable,
    show_columns,
    show_json,
    unusable,
)
from gateway.cli.sysexits import NEGATIVE, OK, TEMPFAIL, USAGE

if TYPE_CHECKING:
    from gateway.config import RouteSettings, Settings
    from gateway.evidence.explain import ExplainRequest, Explanation
    from gateway.policy.model import Policy


def arguments(parser: argparse.ArgumentParser) -> None:
    """The facts of a session, and where the answers come from."""
    parser.add_argument("id", nargs="?", metavar="ID", help="recall the decision with the id in the sender's bounce")
    parser.add_argument("--log", type=Path, metavar="FILE", help="with ID: a node's JSON log in place of the board")
    parser.add_argument("--ip", metavar="ADDRESS", help="the client's address")
    parser.add_argument("--helo", metavar="NAME", help="name in EHLO; default: the address literal")
    parser.add_argument("--from", dest="reverse_path", metavar="ADDRESS", help="'' is the null one")
    parser.add_argument("--rcpt", action="append", metavar="ADDRESS", help="may be repeated")
    parser.add_argument("--file", type=Path, metavar="MSG.EML", help="content; absent: stop after RCPT")
    parser.add_argument("--tls", action="store_true", help="as if STARTTLS had been used")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--zone", type=Path, metavar="FILE", help="answer DNS from this master file; no network")
    source.add_argument("--offline", action="store_true", help="DNS is out; no network")
    config_argument(parser)
    parser.add_argument("--policy", type=Path, metavar="FILE", help="decide with this policy")
    parser.add_argument("--exit-verdict", action="store_true", help="leave with 0 accept, 1 reject, 75 defer")
    output_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Walk and tell."""
    if args.id is not None:
        from gateway.cli.recall import recall_decision

        return recall_decision(args)
    if args.ip is None or args.reverse_path is None or not args.rcpt:
        raise CommandError(USAGE, "say ID, or --ip, --from and --rcpt")
    from gateway.node.policy_keeper import policy_now
    from gateway.policy.load import load, load_packaged

    request = _request(args)
    settings = _settings(args, request)
    policy = load(args.policy) if args.policy else policy_now(settings) if args.config else load_packaged("default")
    told = asyncio.run(_explain(args, request, settings, policy))
    if args.output == "json":
        _show_json(told)
    else:
        _show_text(told, policy)
    if not args.exit_verdict:
        return OK
    code = int(told.reply[:3])
    return NEGATIVE if code >= 500 else TEMPFAIL if code >= 400 else OK


def _request(args: argparse.Namespace) -> ExplainRequest:
    from gateway.evidence.explain import ExplainRequest
    from gateway.mail.address import NULL, AddressError, parse_mailbox

    try:
        ip = ip_address(args.ip)
        reverse_path = parse_mailbox(args.reverse_path) if args.reverse_path else NULL
        recipients = tuple(parse_mailbox(text) for text in args.rcpt)
    except (AddressError, ValueError) as error:
        raise CommandError(USAGE, str(error)) from error
    octets = None
    if args.file is not None:
        try:
            octets = re.sub(rb"\r\n|\r|\n", b"\r\n", args.file.read_bytes())
        except OSError as error:
            raise unusable(error, args.file) from error
    literal = f"[IPv6:{ip}]" if ip.version == 6 else f"[{ip}]"
    utf8 = any(not str(mailbox).isascii() for mailbox in (reverse_path, *recipients))
    return ExplainRequest(ip, args.helo or literal, reverse_path, recipients, octets, tls=args.tls, smtputf8=utf8)


def _settings(args: argparse.Namespace, request: ExplainRequest) -> Settings:
    """Those of --config; without, settings in which the recipients' domains are ours."""
    from gateway.config import RouteSettings, Settings, load_settings

    if args.config is not None:
        return load_settings(args.config, os.environ)
    domains = tuple(dict.fromkeys(mailbox.domain for mailbox in request.recipients if not mailbox.is_literal))
    return Settings(routes=(RouteSettings(domains=domains or ("example.com",), mailstore=_NOWHERE),))


_NOWHERE = ("maildir:/nonexistent",)
"""A mailstore that knows all recipients without being asked; nothing is ever handed to it."""


def _nowhere(route: RouteSettings) -> RouteSettings:
    return route.model_copy(update={"mailstore": _NOWHERE, "name": route.label})


async def _explain(
    args: argparse.Namespace, request: ExplainRequest, settings: Settings, policy: Policy
) -> Explanation:
    from gateway.evidence.explain import explain
    from gateway.node.compose import blocks_now, identity_of, live_ports, offline_ports, router_for
    from gateway.node.duties import board_of
    from gateway.node.lists import lists_now
    from gateway.pipeline import Pipeline

    try:
        router = router_for(settings)
        if args.zone is not None or args.offline:
            silent = settings.model_copy(update={"routes": tuple(_nowhere(route) for route in settings.routes)})
            ports = offline_ports(router_for(silent), args.zone)
        else:
            ports = live_ports(settings, router)
            if args.config is not None:
                lists = await lists_now(board_of(settings))
                ports = replace(ports, blocks=await blocks_now(settings), lists=lists)
    except (ValueError, OSError) as error:
        raise unusable(error) from error
    try:
        return await explain(
            request,
            pipeline=Pipeline(ports),
            policy=policy,
            route=router.route_for,
            identity=identity_of(settings),
            limits=settings.limits.wire(),
        )
    finally:
        await ports.dns.close()
        await router.close()


def _show_json(told: Explanation) -> None:
    from gateway.evidence.record import verdict_json

    values = {
        "policy_digest": told.policy_digest,
        "steps": [asdict(step) for step in told.steps],
        "phases": [
            {"phase": item.phase, "recipient": item.recipient, **verdict_json(item.verdict), "reply": item.reply}
            for item in told.verdicts
        ],
        **verdict_json(told.verdict),
        "reply": told.reply,
        "mailstore": told.mailstore,
        "fields": told.fields.decode("utf-8", "backslashreplace"),
        "removed": list(told.removed),
        "repeat": told.swaks,
    }
    show_json("explain", values)


def _show_text(told: Explanation, policy: Policy) -> None:
    rows = [("policy", told.policy_digest, policy.source or "packaged default", "")]
    for item in told.verdicts:
        for step in told.steps:
            if (step.phase, step.recipient) == (item.phase, item.recipient):
                finding = step.finding
                what = f"{finding['outcome']} ({finding['reason']})" if finding["reason"] else finding["outcome"]
                rows.append((item.phase.value, step.check, what, f"{_evidence(finding)}  {step.seconds * 1000:.0f} ms"))
        rules = ", ".join(f"{hit.rule}{' (cut)' if hit.cut else ''}" for hit in item.verdict.because) or "no rule hits"
        unknown = f"; unknown: {', '.join(item.verdict.unknown)}" if item.verdict.unknown else ""
        observed = "" if item.verdict.enforced else "; observed only"
        whom = f"{item.recipient} " if item.recipient else ""
        rows.append((item.phase.value, "=>", item.verdict.action.word, f"{whom}{rules}{unknown}{observed}"))
    show_columns([tuple(printable(cell) for cell in row) for row in rows])
    place = f" -> {told.mailstore}" if told.mailstore else ""
    print(f"VERDICT  {told.verdict.action.word} ({told.verdict.reason}){place}")
    print(f"REPLY    {printable(told.reply)}")
    if told.fields:
        print("ADDED")
        for line in told.fields.decode("utf-8", "backslashreplace").splitlines():
            print(f"  {printable(line)}")
    if told.removed:
        print(f"REMOVED  {', '.join(printable(name) for name in told.removed)}")
    print(f"REPEAT   {printable(told.swaks)}")


def _evidence(finding: dict[str, Any]) -> str:
    parts = [f"{key}={value}" for key, value in finding.get("evidence", {}).items() if value not in (None, "", [])]
    if cause := finding.get("cause"):
        parts.append(f"{cause['port']} {cause['why']} {cause['detail']}".strip())
    return " ".join(parts)[:200]
