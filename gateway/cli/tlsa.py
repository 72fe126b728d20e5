"""``mxgw tlsa``: TLSA records of the settings' keys (``show``), what is published and served (``check``), a key's
replacement step by step (``plan``).

``check`` compares the records in DNS with the keys on the disk and with what every address serves, for each kind of
key. It leaves with 0, 1 where something does not fit, 69 where something could not be found out.

Known gaps: AD is the resolver's word: ask one on this machine that validates.
"""

from __future__ import annotations

import argparse
import asyncio
import ssl
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.cli.output import CommandError, config_argument, output_argument, show_json
from gateway.cli.outward import (
    addresses_of,
    domain_of,
    hello_of,
    needed_settings,
    outward_arguments,
    own_settings,
    readable,
    show_report,
    with_dns,
)
from gateway.cli.sysexits import CONFIG, DATAERR, OK

if TYPE_CHECKING:
    from gateway.config import Settings
    from gateway.outside.hosts import MxHost
    from gateway.outside.own_keys import OwnKeys
    from gateway.outside.report import Line
    from gateway.outside.visit import Visit
    from gateway.ports.dns import Resolver


def arguments(parser: argparse.ArgumentParser) -> None:
    """show, check, plan."""
    kinds = parser.add_subparsers(dest="kind", metavar="WHAT", required=True)
    show = kinds.add_parser("show", help="print the records (3 1 1) of the current and the next key")
    config_argument(show)
    output_argument(show)
    check = kinds.add_parser("check", help="compare DNS, the keys and what is served")
    check.add_argument("host", metavar="HOST", nargs="*", help="MX hosts; default: those of the settings")
    outward_arguments(check)
    plan = kinds.add_parser("plan", help="say the order in which to replace the key, and how far it has come")
    outward_arguments(plan)
    for one in (show, check, plan):
        one.add_argument("--next", dest="next_key", type=Path, metavar="FILE", help="next key; default: tls.next_key")


def run(args: argparse.Namespace) -> int:
    """Do it."""
    return {"show": _show, "check": _check, "plan": _plan}[args.kind](args)


def _keys(args: argparse.Namespace, settings: Settings) -> OwnKeys:
    from gateway.outside.own_keys import own_keys

    try:
        return own_keys(settings, readable(args.next_key))
    except ValueError as error:
        raise CommandError(DATAERR if settings.tls else CONFIG, str(error)) from error


def _show(args: argparse.Namespace) -> int:
    from gateway.outside.tlsa import owner

    settings = needed_settings(args)
    keys = _keys(args, settings)
    records = [(host, one) for host, found in keys.wanted().items() for one in found]
    if not records:
        raise CommandError(DATAERR, "no certificate of the settings is for one of the MX hosts (publish.mx)")
    ttl = settings.publish.ttl
    if args.output == "json":
        shown = [
            {"name": owner(host), "ttl": ttl, "data": str(one), "key": "next" if one == keys.next_key else "current"}
            for host, one in records
        ]
        show_json("tlsa-show", {"records": shown})
    else:
        for host, one in records:
            print(f"{owner(host)}. {ttl} IN TLSA {one}{'  ; next key' if one == keys.next_key else ''}")
    return OK


def _check(args: argparse.Namespace) -> int:
    settings = own_settings(args)
    keys = _keys(args, settings) if settings and settings.tls else None
    names = [domain_of(name) for name in args.host] or list(keys.current if keys else ())
    if not names:
        raise CommandError(DATAERR, "name a host; the settings have no certificate")
    lines = with_dns(args, settings, lambda dns: _compare(args, settings, keys, names, dns))
    return show_report(args, "tlsa-check", {"hosts": names}, lines)


async def _compare(
    args: argparse.Namespace, settings: Settings | None, keys: OwnKeys | None, names: list[str], dns: Resolver
) -> list[Line]:
    from gateway.outside import agreement
    from gateway.outside.hosts import host_of
    from gateway.outside.report import error, unknown

    lines: list[Line] = []
    for name in names:
        host = await host_of(dns, name, 0)
        if not host.tlsa and not host.tlsa_failure:
            lines.append(error("tlsa", name, "no TLSA record is published"))
            continue
        lines += agreement.tlsa_records(host, wanted=True)
        if keys is not None:
            lines += _against_keys(host, keys)
        if not host.addresses:
            lines.append(error("tlsa", name, "has no address"))
        for seen in await _visits(args, settings, host):
            if seen.unreachable:
                lines.append(unknown("tlsa", f"{name} {seen.place}", seen.error))
            elif seen.tls is None:
                lines.append(error("tlsa", f"{name} {seen.place}", seen.error or "STARTTLS is not offered"))
            else:
                lines.append(agreement.tlsa_of(host, seen))
    return list(dict.fromkeys(lines))


def _against_keys(host: MxHost, keys: OwnKeys) -> Iterator[Line]:
    from gateway.outside.report import error, note, ok, warning

    current = keys.current.get(host.name, ())
    for one in current:
        if one in host.tlsa:
            yield ok("key", host.name, f"the current key {one.data[:16]} is published")
        elif not any(other.usage == 2 for other in host.tlsa):
            yield error("key", host.name, f"the current key is not published: {one}")
    if keys.next_key is not None and keys.next_key not in host.tlsa:
        yield warning("key", host.name, f"the next key is not published: {keys.next_key}")
    elif keys.next_key is not None:
        yield ok("key", host.name, f"the next key {keys.next_key.data[:16]} is published")
    for one in host.tlsa:
        if current and one.usage == 3 and one.selector == 1 and one not in (*current, keys.next_key):
            yield note("key", host.name, f"{one.data[:16]} is published and neither the current nor the next key")


async def _visits(args: argparse.Namespace, settings: Settings | None, host: MxHost) -> list[Visit]:
    """A session of our choice, and one with each kind of key that the host has."""
    from gateway.outside.probe import KEYS
    from gateway.outside.visit import Offer, Place, visit

    hello = hello_of(args, settings)
    found: list[Visit] = []
    for address in addresses_of(args, host):
        place = Place(host.name, address, args.port)
        first = await asyncio.to_thread(visit, place, Offer(hello, args.timeout))
        found.append(first)
        if first.tls is None:
            continue
        kinds = [Offer(hello, args.timeout, True, ssl.TLSVersion.TLSv1_2, ciphers) for ciphers in KEYS.values()]
        others = await asyncio.gather(*(asyncio.to_thread(visit, place, offer) for offer in kinds))
        found += [one for one in others if one.tls and one.tls.fingerprint != first.tls.fingerprint]
    return found


def _plan(args: argparse.Namespace) -> int:
    settings = needed_settings(args)
    keys = _keys(args, settings)
    state = with_dns(args, settings, lambda dns: _state(args, settings, keys, dns))
    from gateway.outside.key_roll import steps

    found = steps(state, time.time())
    if args.output == "json":
        shown: list[dict[str, Any]] = [
            {"step": n, "text": s.text, "command": s.command, "done": s.done, "not_before": s.not_before or None}
            for n, s in enumerate(found, 1)
        ]
        show_json("tlsa-plan", {"ttl": state.ttl, "steps": shown})
    else:
        for n, step in enumerate(found, 1):
            print(
                "\n".join(
                    textwrap.wrap(f"{step.when}: {step.text}", 100, initial_indent=f"{n}. ", subsequent_indent="   ")
                )
            )
            if step.command and not step.done:
                print(f"   $ {step.command}")
    return OK


async def _state(args: argparse.Namespace, settings: Settings, keys: OwnKeys, dns: Resolver) -> Any:
    from gateway.outside.hosts import host_of
    from gateway.outside.key_roll import State

    hosts = [await host_of(dns, name, 0) for name, now in keys.current.items() if now]
    visits = [seen for host in hosts for seen in await _visits(args, settings, host)]
    served = [seen.tls.chain for seen in visits if seen.tls]
    coming = keys.next_key
    return State(
        {host.name: host.tlsa for host in hosts},
        # a cache shows what is left of a TTL
        max([settings.publish.ttl, *(host.tlsa_ttl for host in hosts)]),
        tuple(dict.fromkeys(one for now in keys.current.values() for one in now)),
        coming,
        sum(coming.fits(chain) for chain in served) if coming else 0,
        len(served),
    )
