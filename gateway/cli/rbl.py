"""``mxgw rbl check|health|own``: what the lists of the policy say of an address or a domain, whether the lists are
sound, and whether they hold our own addresses.

All three ask DNS from here and now; ``health`` shows what the cluster's nodes have agreed on beside it. Exit codes: 0
not listed, or all sound; 1 listed, or a list that is not sound; 75 where nobody can say. A list is called by its name;
its domain, in which an access key may stand, is never shown.

Known gaps: ``check`` of a domain asks ``checks.dnsbl.domain_sites`` only.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from gateway.cli.block import at
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
from gateway.cli.sysexits import NEGATIVE, OK, TEMPFAIL, USAGE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.cluster.list_health import Health
    from gateway.cluster.list_probe import Zone
    from gateway.cluster.list_watch import Watched
    from gateway.config import Settings
    from gateway.mail.dnsbl_site import Site
    from gateway.ports.dns import Resolver


def arguments(parser: argparse.ArgumentParser) -> None:
    """check, health and own."""
    from pathlib import Path

    kinds = parser.add_subparsers(dest="kind", metavar="check|health|own", required=True)
    check = kinds.add_parser("check", help="is this address or domain on our lists?")
    check.add_argument("what", metavar="IP|DOMAIN")
    health = kinds.add_parser("health", help="ask each list about its test points, and show what the cluster found")
    own = kinds.add_parser("own", help="are our own addresses on our lists?")
    for kind in (check, health, own):
        kind.add_argument("--zone", type=Path, metavar="FILE", help="answer DNS from this master file; no network")
        kind.add_argument("--policy", type=Path, metavar="FILE", help="lists of this policy; default: the one in force")
        config_argument(kind)
        output_argument(kind)


def run(args: argparse.Namespace) -> int:
    """Do it."""
    from gateway.cluster.list_watch import Watched
    from gateway.config import load_settings
    from gateway.node.policy_keeper import policy_now
    from gateway.policy.load import load

    settings = None
    if args.config is not None or args.policy is None or args.kind == "own":
        settings = load_settings(settings_path(args.config), os.environ)
    if args.policy is not None:
        policy = load(args.policy)
    else:
        assert settings is not None
        policy = policy_now(settings)
    watched = Watched.of(policy)
    return asyncio.run({"check": _check, "health": _health, "own": _own}[args.kind](args, settings, watched))


@asynccontextmanager
async def _dns(args: argparse.Namespace, settings: Settings | None) -> AsyncIterator[Resolver]:
    from gateway.node.compose import zone_or_net
    from gateway.node.lists import fresh_resolver

    try:
        dns = zone_or_net(settings, args.zone) if args.zone is not None else fresh_resolver(settings)
    except (ValueError, OSError) as error:
        raise unusable(error) from error
    try:
        yield dns
    finally:
        await dns.close()


async def _check(args: argparse.Namespace, settings: Settings | None, watched: Watched) -> int:
    what, of_domains = _what(args.what)
    async with _dns(args, settings) as dns:
        zones = [zone for zone in watched.zones if zone.of_domains == of_domains]
        rows = await asyncio.gather(*(_asked(dns, zone, what, watched) for zone in zones))
    if args.output == "json":
        show_json("rbl-check", {"what": what, "lists": rows})
    else:
        shown = [(r["list"], r["result"], " ".join(r["answers"]), f"{r['score']:g}", r["text"]) for r in rows]
        show_columns([("LIST", "RESULT", "ANSWER", "SCORE", "TEXT"), *(tuple(map(printable, row)) for row in shown)])
        if not rows:
            print("the policy has no list to ask")
    results = {row["result"] for row in rows}
    if "listed" in results:
        return NEGATIVE
    return TEMPFAIL if "no answer" in results else OK


async def _asked(dns: Resolver, zone: Zone, what: str, watched: Watched) -> dict[str, Any]:
    from gateway.cluster.list_probe import Said, ask, explained
    from gateway.mail.dnsbl_site import is_listing

    said = await ask(dns, zone, what, watched.settings.query_timeout)
    found: dict[str, Any] = {"list": zone.name, "result": "no answer", "answers": [], "score": 0.0, "text": ""}
    if not isinstance(said, Said):
        return {**found, "text": said.why.value}
    found["answers"] = [str(code) for code in said.codes]
    listings = [code for code in said.codes if is_listing(code)]
    if not said.codes:
        return {**found, "result": "not listed"}
    if not listings:
        return {**found, "result": "no listing", "text": "an error code, or no answer of a list"}
    sites: list[Site] = [s for s in watched.sites if s.label == zone.name and any(map(s.matches, listings))]
    found["score"] = sum(site.weight for site in sites)
    found["text"] = (await explained(dns, zone, what, watched.settings.query_timeout))[:200]
    if not sites and not zone.of_domains:
        return {**found, "result": "filtered"}
    return {**found, "result": "allowed" if found["score"] < 0 else "listed"}


def _what(text: str) -> tuple[str, bool]:
    from gateway.mail.address import AddressError, parse_domain
    from gateway.mail.network import unmapped

    try:
        address = ip_address(text.strip("[]"))
    except ValueError:
        try:
            return parse_domain(text), True
        except AddressError as error:
            raise CommandError(USAGE, f"{text}: neither an address nor a domain: {error}") from error
    return str(unmapped(address)), False


async def _health(args: argparse.Namespace, settings: Settings | None, watched: Watched) -> int:
    from gateway.cluster.list_probe import look, resolver_faults
    from gateway.node.lists import resolver_addresses

    timeout = watched.settings.query_timeout
    async with _dns(args, settings) as dns:
        looks = await asyncio.gather(*(look(dns, zone, timeout) for zone in watched.looked_at))
        servers = [] if args.zone is not None else resolver_addresses(settings)
        faults = await resolver_faults(dns, servers, looks, timeout)
    agreed = await _agreed(args, settings)
    rows = []
    for zone, seen in zip(watched.looked_at, looks, strict=True):
        now = {"state": seen.state, "reason": seen.reason, "ipv6": seen.ipv6, "answers": list(seen.listed)}
        kind = "domain" if zone.of_domains else "ip"
        rows.append({"list": zone.name, "kind": kind, "now": now, "cluster": _cluster_json(agreed.get(zone.name))})
    if args.output == "json":
        show_json("rbl-health", {"lists": rows, "resolver": faults})
    else:
        _show_health(rows, faults)
    bad = any(seen.state != "ok" for seen in looks) or any(one.state == "disabled" for one in agreed.values())
    return NEGATIVE if bad or faults else OK


async def _agreed(args: argparse.Namespace, settings: Settings | None) -> dict[str, Health]:
    from gateway.cluster.list_watch import cluster_states
    from gateway.node.duties import board_of
    from gateway.ports.failure import PortFailure

    # a board in memory is that of the node's process only; with --zone nothing leaves the machine
    if settings is None or args.zone is not None or settings.store.startswith("memory:"):
        return {}
    try:
        board = board_of(settings)
    except (ValueError, OSError) as error:
        raise unusable(error) from error
    try:
        return dict(await cluster_states(board))
    except PortFailure:
        return {}
    finally:
        await board.close()


def _cluster_json(health: Health | None) -> dict[str, Any] | None:
    return asdict(health) if health else None


def _show_health(rows: Sequence[dict[str, Any]], faults: Sequence[str]) -> None:
    shown = [("LIST", "KIND", "HERE AND NOW", "CLUSTER", "SINCE", "SOUND LOOKS", "BY")]
    for row in rows:
        now, agreed = row["now"], row["cluster"]
        here = f"{now['state']} {now['reason']}".strip()
        if agreed is None:
            shown.append((row["list"], row["kind"], here, "-", "-", "-", "-"))
            continue
        good = str(agreed["good"]) if agreed["state"] == "disabled" else "-"
        state = f"{agreed['state']} {agreed['reason']}".strip()
        shown.append((row["list"], row["kind"], here, state, at(agreed["since"]), good, agreed["by"]))
    show_columns([tuple(printable(cell) for cell in row) for row in shown])
    for fault in faults:
        print(f"RESOLVER  {fault}")


async def _own(args: argparse.Namespace, settings: Settings | None, watched: Watched) -> int:
    from gateway.cluster.own_addresses import find, look_up
    from gateway.node.lists import served_domains

    assert settings is not None
    async with _dns(args, settings) as dns:
        own = await find(dns, served_domains(settings), watched.settings.own_addresses)
        found = await look_up(dns, own, watched.sites, watched.settings.query_timeout)
    if args.output == "json":
        show_json("rbl-own", {"addresses": [asdict(one) for one in found]})
    else:
        rows = [("ADDRESS", "FROM", "LISTED", "NO ANSWER")]
        for one in found:
            listed = " ".join(f"{name}={code}" for name, code in one.listed.items())
            rows.append((one.address, printable(one.source), listed or "-", " ".join(one.unknown) or "-"))
        show_columns(rows)
    if any(one.listed for one in found):
        return NEGATIVE
    return TEMPFAIL if any(one.unknown for one in found) else OK
