"""``mxgw doctor``: everything in turn (doctor_walk), or one thing closely: ``mailstore`` and ``bypass``.

``mailstore`` asks each mailstore for a recipient that cannot exist. ``bypass`` looks for ways around the gateway: hosts
of the domain that take its mail from anybody. Leaves with 1 where something is wrong, 69 and 75 where
nobody could say.

Known gaps: ``bypass`` sees what this machine may reach: run it from outside of your own networks too.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.cli.output import (
    CommandError,
    config_argument,
    output_argument,
    printable,
    settings_path,
    show_columns,
    show_json,
    unusable,
)
from gateway.cli.sysexits import NEGATIVE, OK, TEMPFAIL, UNAVAILABLE, USAGE

if TYPE_CHECKING:
    from gateway.config import Settings
    from gateway.delivery.bypass import Answer
    from gateway.delivery.recipients_probe import Probe


def arguments(parser: argparse.ArgumentParser) -> None:
    """Alone: a walk; a word: one thing to look at."""
    config_argument(parser)
    output_argument(parser)
    parser.add_argument("--zone", type=Path, metavar="FILE", help="answer DNS from this master file")
    kinds = parser.add_subparsers(dest="what", metavar="WHAT", required=False)
    mailstore = kinds.add_parser("mailstore", help="do the mailstores refuse recipients that do not exist?")
    config_argument(mailstore)
    output_argument(mailstore)
    bypass = kinds.add_parser("bypass", help="does a host of the domain take mail that did not pass the gateway?")
    bypass.add_argument("--domain", required=True, metavar="D", help="a recipient domain of ours")
    bypass.add_argument("--rcpt", metavar="ADDRESS", help="recipient to ask for; default: postmaster@D")
    bypass.add_argument("--from", dest="reverse_path", default="", metavar="ADDRESS", help="default: the null one")
    bypass.add_argument(
        "--target",
        action="append",
        default=[],
        metavar="HOST[:PORT]",
        help="ask this host too (lmtp://HOST by LMTP); repeat",
    )
    bypass.add_argument("--only-targets", action="store_true", help="look up no names, ask --target only")
    bypass.add_argument("--gateway", action="append", default=[], metavar="HOST", help="a host that is the gateway")
    bypass.add_argument("--zone", type=Path, metavar="FILE", help="answer DNS from this master file")
    bypass.add_argument("--timeout", type=float, default=15.0, metavar="SECONDS", help="for each host; default 15")
    config_argument(bypass)
    output_argument(bypass)
    for kind in (mailstore, bypass):
        # what was said before the word holds unless it is said again after it
        for action in kind._actions:
            if action.dest in ("config", "output", "zone"):
                action.default = argparse.SUPPRESS


def run(args: argparse.Namespace) -> int:
    """Look and tell."""
    if args.what is None:
        from gateway.cli.doctor_walk import walk

        return walk(args)
    return _mailstore(args) if args.what == "mailstore" else _bypass(args)


def _mailstore(args: argparse.Namespace) -> int:
    from gateway.config import load_settings
    from gateway.delivery.recipients_probe import Recipients
    from gateway.node.self_test import as_json, probe_all

    settings = load_settings(settings_path(args.config), os.environ)
    try:
        probes = asyncio.run(probe_all(settings))
    except (ValueError, OSError) as error:
        raise unusable(error) from error
    if args.output == "json":
        show_json("doctor-mailstore", {"mailstores": [as_json(probe) for probe in probes]})
    else:
        _show_probes(probes)
    results = {probe.result for probe in probes}
    if Recipients.ACCEPTS_ALL in results:
        return NEGATIVE
    return UNAVAILABLE if Recipients.UNREACHABLE in results else OK


def _show_probes(probes: list[Probe]) -> None:
    from gateway.delivery.recipients_probe import MEANING

    rows = [("ROUTE", "MAILSTORE", "RESULT", "MEANING", "REPLY")]
    rows += [(p.route, p.mailstore, p.result.value, MEANING[p.result], printable(p.detail)) for p in probes]
    show_columns(rows)


def _bypass(args: argparse.Namespace) -> int:
    from gateway.delivery.bypass import Result

    answers = asyncio.run(_ask(args))
    if args.output == "json":
        show_json("doctor-bypass", {"domain": args.domain, "targets": [_as_json(one) for one in answers]})
    else:
        rows = [("TARGET", "ADDRESS", "WHY", "RESULT", "REPLY")]
        rows += [(str(a.target), a.address or "-", a.target.why, a.result.value, printable(a.detail)) for a in answers]
        show_columns(rows)
        if not answers:
            print("no host was found to ask; name some with --target")
    results = {one.result for one in answers}
    if Result.OPEN in results:
        return NEGATIVE
    # no question and no clear answer prove nothing
    return UNAVAILABLE if not answers else TEMPFAIL if Result.UNCLEAR in results else OK


async def _ask(args: argparse.Namespace) -> list[Answer]:
    from gateway.delivery.bypass import Question, ask, targets_of
    from gateway.mail.address import NULL, AddressError, parse_domain, parse_mailbox
    from gateway.node.compose import zone_or_net

    try:
        domain = parse_domain(args.domain)
        mailbox = parse_mailbox(args.rcpt or f"postmaster@{domain}")
        reverse_path = parse_mailbox(args.reverse_path) if args.reverse_path else NULL
    except AddressError as error:
        raise CommandError(USAGE, str(error)) from error
    settings = _settings(args)
    try:
        dns = zone_or_net(settings, args.zone)
        targets = await targets_of(
            domain,
            dns,
            given=args.target,
            gateways=[*args.gateway, *([settings.hostname] if settings else [])],
            look_up=not args.only_targets,
        )
    except (ValueError, OSError) as error:
        raise unusable(error) from error
    hello = settings.hostname if settings else socket.gethostname()
    question = Question(hello, mailbox, reverse_path, args.timeout)
    try:
        found = await asyncio.gather(*(ask(target, question, dns) for target in targets))
    finally:
        await dns.close()
    return [answer for answers in found for answer in answers]


def _settings(args: argparse.Namespace) -> Settings | None:
    from gateway.config import load_settings

    if args.config is not None:
        return load_settings(args.config, os.environ)
    path = settings_path(None)
    return load_settings(path, os.environ) if path.exists() else None


def _as_json(answer: Answer) -> dict[str, Any]:
    return {
        "target": str(answer.target),
        "address": answer.address,
        "why": answer.target.why,
        "result": answer.result.value,
        "open": answer.open,
        "detail": answer.detail,
    }
