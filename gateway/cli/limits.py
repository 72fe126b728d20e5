"""``mxgw limits``: what a client, a reverse-path domain or a recipient has used of each limit, and how to reset that.

``show`` leaves with 1 where a limit is used up. The limits are those of the policy's default profile.

Known gaps: sessions cannot be reset, they are what is open; what a worker counts alone while the store is out is not
shown.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING

from gateway.cli.output import (
    CommandError,
    config_argument,
    output_argument,
    settings_path,
    show_columns,
    show_json,
    unusable,
)
from gateway.cli.sysexits import NEGATIVE, OK, UNAVAILABLE, USAGE

if TYPE_CHECKING:
    from gateway.checks.charges import Charge
    from gateway.policy.settings import ChecksSettings
    from gateway.ports.store import Counter


def arguments(parser: argparse.ArgumentParser) -> None:
    """show and reset."""
    kinds = parser.add_subparsers(dest="kind", metavar="WHAT", required=True)
    for kind, text in (("show", "what is used of each limit"), ("reset", "begin anew")):
        one = kinds.add_parser(kind, help=text)
        one.add_argument("what", metavar="IP|DOMAIN|ADDRESS", help="a client, a reverse-path domain or a recipient")
        config_argument(one)
        output_argument(one)


@dataclass(frozen=True, slots=True)
class _Used:
    what: str
    by: str
    of: str
    used: float
    limit: float
    window: float

    @property
    def is_up(self) -> bool:
        return self.used >= self.limit


def run(args: argparse.Namespace) -> int:
    """Ask or reset."""
    found = asyncio.run(_used(args))
    if args.kind == "reset":
        if args.output == "json":
            show_json("limits-reset", {"reset": args.what, "counters": len(found)})
        else:
            print(f"reset: {args.what}")
        return OK
    if args.output == "json":
        names = ("what", "by", "of", "used", "limit", "window")
        show_json("limits", {"limits": [{name: getattr(one, name) for name in names} for one in found]})
    else:
        rows = [
            (one.what, one.by, one.of, f"{one.used:.4g}", f"{one.limit:g}", f"{one.window:g} s" if one.window else "-")
            for one in found
        ]
        show_columns([("WHAT", "BY", "OF", "USED", "LIMIT", "IN"), *rows])
    return NEGATIVE if any(one.is_up for one in found) else OK


async def _used(args: argparse.Namespace) -> list[_Used]:
    from gateway.config import load_settings
    from gateway.node.compose import shared_store
    from gateway.node.policy_keeper import policy_now
    from gateway.ports.failure import PortFailure
    from gateway.ports.store import Tally

    settings = load_settings(settings_path(args.config), os.environ)
    policy = policy_now(settings)
    asked = _charges(args.what, policy.default.checks)
    if settings.store.startswith("memory:"):
        raise CommandError(UNAVAILABLE, f"{settings.store} is in each worker's memory; no command reaches it")
    try:
        store, _ = shared_store(settings)
    except (ValueError, OSError) as error:
        raise unusable(error) from error
    if args.kind == "reset":
        asked = [replace(one, counter=_forgetting(one.counter)) for one in asked if one.counter.tally is Tally.WINDOW]
    try:
        numbers = await store.count([one.counter for one in asked])
    except PortFailure as failure:
        raise CommandError(UNAVAILABLE, str(failure)) from failure
    finally:
        await store.close()
    return [
        _Used(
            one.what,
            one.by,
            one.whom,
            round(number, 2),
            one.limit,
            one.counter.window if one.counter.tally is Tally.WINDOW else 0.0,
        )
        for one, number in zip(asked, numbers, strict=True)
    ]


def _forgetting(counter: Counter) -> Counter:
    return replace(counter, amount=0, limit=0.0, forget=True)


def _charges(what: str, checks: ChecksSettings) -> list[Charge]:
    """All limits that concern it, looked at only."""
    from gateway.checks.charges import charges, domain_subject
    from gateway.mail.address import AddressError, parse_domain, parse_mailbox

    try:
        client = ip_address(what.strip("[]"))
    except ValueError:
        pass
    else:
        return _of_client(client, checks)
    try:
        if "@" in what:
            return charges("messages", 0, {"recipient": str(parse_mailbox(what)).lower()}, checks.rate, ("recipient",))
        domain = parse_domain(what)
    except AddressError as error:
        raise CommandError(USAGE, f"{what}: {error}") from error
    return [
        charge
        for proven in (True, False)
        for kind in ("messages", "recipients", "unknown")
        for charge in charges(kind, 0, {"domain": domain_subject(domain, proven)}, checks.rate, ("domain",))
    ]


def _of_client(client: IPv4Address | IPv6Address, checks: ChecksSettings) -> list[Charge]:
    from gateway.checks.charges import Charge, charges, clients
    from gateway.cluster.accounts import sessions_of
    from gateway.mail.network import network_of
    from gateway.ports.store import Counter

    rate, recipient = checks.rate, checks.recipient
    whom = clients(client, rate)
    found = [
        charge
        for kind in ("connections", "messages", "recipients", "errors")
        for charge in charges(kind, 0, whom, rate, ("client", "network"))
    ]
    found += charges("unknown", 0, whom, rate, ("client",))
    if recipient.unknown_limit:
        network = network_of(client, recipient.ipv4_prefix, recipient.ipv6_prefix)
        counter = Counter(f"unknown:{network}", 0, recipient.unknown_window)
        found.append(Charge("unknown", "network", network, recipient.unknown_limit, counter))
    for held in sessions_of(client):
        limit = rate.client.sessions if held.by == "client" else rate.sessions
        if limit:
            found.append(Charge("sessions", held.by, held.whom, limit, held.counter))
    return found
