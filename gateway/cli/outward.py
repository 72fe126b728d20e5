"""What the commands share that look at us from outside: resolvers, ports, visits with STARTTLS, a report's print.

DNS is asked only by --resolver, the settings' or the system's resolvers. Exit codes: 0 all is well, 1 something is
wrong, 69 something could not be found out.

Known gaps: none.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from gateway.cli.output import (
    CommandError,
    config_argument,
    output_argument,
    printable,
    settings_path,
    show_columns,
    show_json,
)
from gateway.cli.sysexits import NOINPUT, UNAVAILABLE, USAGE

if TYPE_CHECKING:
    from gateway.config import Settings
    from gateway.outside.hosts import MxHost, MxSet
    from gateway.outside.mta_sts import StsPolicy
    from gateway.outside.report import Line
    from gateway.ports.dns import Resolver

_T = TypeVar("_T")


def outward_arguments(parser: argparse.ArgumentParser, *, smtp: bool = True, https: bool = False) -> None:
    """--resolver, --config, --output; --port, --ca, --timeout for the visits."""
    parser.add_argument(
        "--resolver",
        action="append",
        default=[],
        metavar="ADDRESS[:PORT]",
        help="ask this name server, in place of the settings' or the system's; repeat",
    )
    if smtp:
        parser.add_argument("--port", type=int, default=25, metavar="N", help="SMTP port of the MX hosts; default 25")
        parser.add_argument("--family", type=int, choices=(4, 6), help="visit IPv4 or IPv6 addresses only")
        parser.add_argument("--ca", metavar="FILE", help="trust these CAs (PEM) in place of the system's")
        parser.add_argument("--timeout", type=float, default=15.0, metavar="SECONDS", help="for an answer; default 15")
        parser.add_argument("--hello", default="", metavar="NAME", help="our name in EHLO; default: this machine's")
    if https:
        parser.add_argument("--https-port", type=int, default=443, metavar="N", help="of mta-sts.DOMAIN; default 443")
    config_argument(parser)
    output_argument(parser)


def own_settings(args: argparse.Namespace) -> Settings | None:
    """Those of --config or of the usual places, or None."""
    from gateway.config import load_settings

    if args.config is not None:
        return load_settings(args.config, os.environ)
    path = settings_path(None)
    return load_settings(path, os.environ) if path.exists() else None


def needed_settings(args: argparse.Namespace) -> Settings:
    """Those of --config or of the usual places. Raises FaultsError."""
    from gateway.config import load_settings

    return load_settings(settings_path(args.config), os.environ)


def with_dns(args: argparse.Namespace, settings: Settings | None, do: Callable[[Resolver], Awaitable[_T]]) -> _T:
    """Run ``do`` with the resolvers. Raises CommandError: 64 for one that is no address, 69 where DNS is away."""
    from gateway.node.outward import resolver_of_all_types
    from gateway.ports.failure import PortFailure

    try:
        dns = resolver_of_all_types(settings, args.resolver)
    except ValueError as error:
        raise CommandError(USAGE, f"--resolver: {error}") from error

    async def run() -> _T:
        try:
            return await do(dns)
        finally:
            await dns.close()

    try:
        return asyncio.run(run())
    except PortFailure as failure:
        raise CommandError(UNAVAILABLE, f"DNS does not answer: {failure.cause.detail}") from failure


def domain_of(text: str) -> str:
    """A domain as DNS has it. Raises CommandError(64)."""
    from gateway.mail.address import AddressError, parse_domain

    try:
        return parse_domain(text.rstrip("."))
    except AddressError as error:
        raise CommandError(USAGE, f"{text}: {error}") from error


def hello_of(args: argparse.Namespace, settings: Settings | None) -> str:
    """Our name in EHLO."""
    return str(args.hello) or (settings.hostname if settings else socket.getfqdn())


def addresses_of(args: argparse.Namespace, host: MxHost) -> list[str]:
    """Those to visit."""
    return [one for one in host.addresses if args.family in (None, ip_address(one).version)]


async def smtp_lines(
    args: argparse.Namespace, settings: Settings | None, found: MxSet, policy: StsPolicy | None
) -> list[Line]:
    """Visit each address of each MX host, with STARTTLS: certificates, chains, TLSA."""
    from gateway.outside import agreement
    from gateway.outside.visit import Offer, Place, visit

    offer = Offer(hello_of(args, settings), args.timeout)
    verifying = Offer(offer.hello, offer.timeout, verify=True, ca=args.ca)
    lines: list[Line] = []
    for host in found.hosts:
        places = [Place(host.name, address, args.port) for address in addresses_of(args, host)]
        visits = await asyncio.gather(*(asyncio.to_thread(visit, place, offer) for place in places))
        lines += agreement.certificates(host, visits, policy, time.time())
        again = [seen.place for seen in visits if seen.tls]
        verified = await asyncio.gather(*(asyncio.to_thread(visit, place, verifying) for place in again))
        lines += agreement.chains(host, verified, policy)
    return lines


def show_report(
    args: argparse.Namespace, command: str, values: Mapping[str, Any], lines: Sequence[Line], strict: bool = False
) -> int:
    """Print the lines (text: the bad ones last, where eyes are) and return the exit code."""
    from gateway.outside.report import Level, counted, exit_code

    code = exit_code(lines, strict)
    if args.output == "json":
        told = [line.as_json() for line in lines]
        show_json(command, {**values, "exit": code, "counts": counted(lines), "lines": told})
        return code
    order = list(Level)
    shown = sorted(lines, key=lambda line: order.index(line.level))
    rows = [("LEVEL", "ABOUT", "WHO", "WHAT")]
    rows += [(line.level.value, line.about, printable(line.subject), printable(line.text)) for line in shown]
    show_columns(rows)
    counts = ", ".join(f"{number} {level}" for level, number in counted(lines).items() if number)
    print(f"{counts or 'nothing was looked at'}")
    return code


def readable(file: Path | None) -> Path | None:
    """The file, or CommandError(66) where there is none."""
    if file is not None and not file.is_file():
        raise CommandError(NOINPUT, f"{file} cannot be read: there is no such file")
    return file
