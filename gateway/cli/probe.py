"""``mxgw probe DOMAIN|HOST``: every address of every MX host, several connections each; a difference is an error.

Greeting, EHLO words, STARTTLS, TLS versions and ciphers, certificates, open relay, answers for recipients, latency. For
each address about ten sessions, and no message. For cron: 0 all alike, 1 a difference or an open relay, 69 an address
that does not answer.

Known gaps: sees what this machine may reach: run it from outside of your own networks too.
"""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING

from gateway.cli.output import CommandError
from gateway.cli.outward import (
    addresses_of,
    domain_of,
    hello_of,
    outward_arguments,
    own_settings,
    show_report,
    with_dns,
)
from gateway.cli.sysexits import USAGE
from gateway.mail.network import is_address

if TYPE_CHECKING:
    from gateway.outside.hosts import MxSet
    from gateway.outside.probe import Seen
    from gateway.outside.visit import Place, Question
    from gateway.ports.dns import Resolver

_NOBODY = "no-such-mailbox-mxgw-probe"
_FOREIGN = "relay-test@example.org"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Whom, how often, and whom to ask for."""
    parser.add_argument("target", metavar="DOMAIN|HOST", help="a domain, the name of a host, or an IP address")
    parser.add_argument("--connections", type=int, default=3, metavar="N", help="to each address; default 3")
    parser.add_argument("--domain", default="", metavar="D", help="a domain that is served there; default: the target")
    parser.add_argument("--rcpt", action="append", default=[], metavar="ADDRESS", help="ask for it; repeat")
    parser.add_argument("--from", dest="reverse_path", default="", metavar="ADDRESS", help="default: the null one")
    parser.add_argument("--foreign", default=_FOREIGN, metavar="ADDRESS", help=f"for the relay test; {_FOREIGN}")
    parser.add_argument("--known-only", action="store_true", help="do not ask for a mailbox that does not exist")
    parser.add_argument("--slow", type=float, default=5.0, metavar="SECONDS", help="a later greeting is a warning; 5")
    outward_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Look and tell."""
    from gateway.outside import probe
    from gateway.outside.report import unknown
    from gateway.outside.visit import Offer

    if not 1 <= args.connections <= 20:
        raise CommandError(USAGE, "--connections: from 1 to 20")
    settings = own_settings(args)
    target = args.target if is_address(args.target) else domain_of(args.target)
    mx = with_dns(args, settings, lambda dns: _hosts(dns, target))
    same, once = _questions(args, target)
    plan = probe.Plan(Offer(hello_of(args, settings), args.timeout, ca=args.ca), args.connections, same, once)
    seen: list[Seen] = asyncio.run(asyncio.to_thread(probe.probe, _places(args, mx), plan))
    lines = probe.judged(seen, args.slow)
    lines += [unknown("addresses", host.name, "has no address") for host in mx.hosts if not host.addresses]
    if not mx.hosts:
        lines.append(unknown("mx", target, "takes no mail (null MX)"))
    return show_report(args, "probe", {"target": target, "addresses": [one.as_json() for one in seen]}, lines)


async def _hosts(dns: Resolver, target: str) -> MxSet:
    from gateway.outside.hosts import mx_set

    return await mx_set(dns, target)


def _places(args: argparse.Namespace, mx: MxSet) -> list[Place]:
    from gateway.outside.visit import Place

    return [Place(host.name, address, args.port) for host in mx.hosts for address in addresses_of(args, host)]


def _questions(args: argparse.Namespace, target: str) -> tuple[tuple[Question, ...], tuple[Question, ...]]:
    from gateway.mail.address import AddressError, parse_mailbox
    from gateway.outside.visit import Question

    try:
        for address in (*args.rcpt, args.foreign, *([args.reverse_path] if args.reverse_path else [])):
            parse_mailbox(address)
    except AddressError as error:
        raise CommandError(USAGE, f"{address}: {error}") from error
    sender = args.reverse_path
    relay = Question("relay", sender, args.foreign)
    if is_address(target) and not args.domain and not args.rcpt:
        return (Question("postmaster", sender, "postmaster"),), (relay,)
    domain = domain_of(args.domain) if args.domain else "" if is_address(target) else target
    wanted = args.rcpt or [f"postmaster@{domain}"]
    same = tuple(Question(one, sender, one) for one in wanted)
    # once an address only: many unknown recipients would look like a dictionary attack
    nobody = (Question("nobody", sender, f"{_NOBODY}@{domain}"),) if domain and not args.known_only else ()
    return same, (*nobody, relay)
