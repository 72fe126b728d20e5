"""``mxgw doctor`` alone: from the client's address to the clock, what is wrong and what to do about it.

Nothing is sent and nothing is changed, but a key of a second in the store. Each step has a bounded time and none is
left out because another failed.

Known gaps: that the clients' addresses are a balancer's is seen from what has come in already; clocks are compared with
that of a Redis only.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, Literal

from gateway.cli.output import CommandError, settings_path, show_columns, show_json
from gateway.cli.sysexits import NEGATIVE, OK, UNAVAILABLE

if TYPE_CHECKING:
    from gateway.config import Settings
    from gateway.ports.dns import Resolver

Result = Literal["ok", "note", "unknown", "wrong"]
BYPASS_SECONDS: Final = 5.0
CLOCK_SECONDS: Final = 2.0
MANY: Final = 20
MOST: Final = 0.9
"""One private address that stands behind so much of so many decisions is no client."""
PUBLIC: Final = frozenset(
    {"8.8.8.8", "8.8.4.4", "1.1.1.1", "1.0.0.1", "9.9.9.9", "149.112.112.112", "208.67.222.222", "208.67.220.220"}
)


@dataclass(frozen=True, slots=True)
class Told:
    """What a step saw. remedy: what to do; empty where nothing is to be done."""

    step: str
    result: Result
    text: str
    remedy: str = ""


def walk(args: argparse.Namespace) -> int:
    """All steps. 1 where something is wrong, else 69 where something could not be found out."""
    from gateway.cli.doctor_alone import alone
    from gateway.config import load_settings
    from gateway.policy.load import load

    path = settings_path(args.config)
    settings = load_settings(path, os.environ)
    if settings.policy:
        load(settings.policy)  # its faults are told as those of the settings
    found = [Told("settings", "ok", f"{path} and its policy can be read")]
    found += [Told("settings", "note", warning) for warning in settings.warnings]
    found += asyncio.run(_steps(args, settings))
    found += [Told("alone", "note", text) for text in alone(settings)]
    results = {one.result for one in found}
    code = NEGATIVE if "wrong" in results else UNAVAILABLE if "unknown" in results else OK
    if args.output == "json":
        names = Told.__slots__
        show_json("doctor", {"exit": code, "steps": [{name: getattr(one, name) for name in names} for one in found]})
        return code
    show_columns([("STEP", "RESULT", "WHAT"), *((one.step, one.result, one.text) for one in found)])
    remedies = [one for one in found if one.remedy]
    if remedies:
        print("\nto do:")
    for number, one in enumerate(remedies, 1):
        print(f"{number}. {one.step}: {one.remedy}")
    return code


async def _steps(args: argparse.Namespace, settings: Settings) -> list[Told]:
    from gateway.node.compose import zone_or_net

    try:
        dns = zone_or_net(settings, args.zone)
    except (ValueError, OSError) as error:
        raise CommandError(UNAVAILABLE, f"DNS: {error}") from error
    try:
        groups = await asyncio.gather(
            _client(settings), _dns(settings, dns), _store(settings), _mailstores(settings), _bypass(settings, dns),
            _clock(settings),
        )  # fmt: skip
    finally:
        await dns.close()
    return [one for group in groups for one in group]


async def _client(settings: Settings) -> list[Told]:
    found = []
    for listener in settings.listeners:
        proxy = listener.proxy_protocol
        where = listener.name or listener.address
        if proxy is None:
            text = f"{where}: the peer of a connection is taken for the client"
        elif proxy.direct:
            text = f"{where}: PROXY headers from {_list(proxy.trusted)}; all others are direct clients"
        else:
            text = f"{where}: PROXY headers from {_list(proxy.trusted)}; all others are refused"
        found.append(Told("client address", "ok", text))
    return [*found, *await _clients_seen(settings)]


async def _clients_seen(settings: Settings) -> list[Told]:
    from gateway.cluster.journal import decisions, seal_of
    from gateway.node.duties import board_of
    from gateway.ports.failure import PortFailure

    if settings.store.startswith("memory:"):
        return []
    try:
        board = board_of(settings)
        try:
            seen = await decisions(board, seal_of(settings.shared_secret), time.time() - 86400, 1000)
        finally:
            await board.close()
    except (PortFailure, ValueError, OSError):
        return []  # the store's own step says why
    return clients_told(Counter(str(record.get("client_ip", "")) for record in seen.records))


def clients_told(counted: Counter[str]) -> list[Told]:
    """What the clients of recent decisions say. counted: decisions by client's address."""
    total = counted.total()
    if not total:
        return [Told("client address", "note", "no decision of the last day: send a message and look again")]
    address, number = counted.most_common(1)[0]
    try:
        private = ip_address(address).is_private
    except ValueError:
        private = False
    if total >= MANY and number >= MOST * total and private:
        return [
            Told(
                "client address",
                "wrong",
                f"{number} of the last {total} decisions are about {address}: a balancer's address, not a client's",
                "let the balancer send PROXY headers and trust it (`listeners: proxy_protocol: trusted`), or keep the "
                "client's address (externalTrafficPolicy: Local); see docs/load-balancers.md",
            )
        ]
    return [Told("client address", "ok", f"{len(counted)} clients in the last {total} decisions")]


async def _dns(settings: Settings, dns: Resolver) -> list[Told]:
    from gateway.ports.dns import addresses, reverse_names
    from gateway.ports.failure import PortFailure

    found = []
    public = [one for one in settings.dns.servers if one.rpartition(":")[0].strip("[]") in PUBLIC or one in PUBLIC]
    if public:
        remedy = "run a resolver of your own (unbound) and name it in `dns: servers`"
        found.append(Told("dns", "wrong", f"block lists do not answer the public {_list(public)}", remedy))
    name, started = settings.hostname, time.monotonic()
    try:
        ours = [*await addresses(dns, name, 4), *await addresses(dns, name, 6)]
        if not ours:
            remedy = f"publish addresses of {name}: mxgw dns-records prints all records"
            return [*found, Told("dns", "wrong", f"{name}, the name in our greeting, has no address", remedy)]
        for address in ours:
            names = await reverse_names(dns, address)
            if name not in names:
                remedy = f"let whoever gave you {address} point its PTR record to {name}"
                found.append(Told("dns", "wrong", f"{address} is called {_list(names) or 'nothing'}", remedy))
    except PortFailure as failure:
        remedy = "start the resolver, or name another in `dns: servers`; till then checks know nothing"
        return [*found, Told("dns", "wrong", f"no answer: {failure.cause.detail or failure}", remedy)]
    took = time.monotonic() - started
    return [*found, Told("dns", "ok", f"answers ({took:.3f} s); {name} has {len(ours)} addresses")]


async def _store(settings: Settings) -> list[Told]:
    from gateway.node.compose import shared_store
    from gateway.ports.failure import PortFailure

    if settings.store.startswith("memory:"):
        remedy = "where there is more than one node, name a Redis in `store`"
        return [Told("store", "note", "in each worker's memory: nodes know nothing of each other", remedy)]
    kind = settings.store.partition(":")[0]
    started = time.monotonic()
    try:
        store, _ = shared_store(settings)
        key = f"doctor:{secrets.token_hex(8)}"
        try:
            await store.put(key, "1", 1.0)
            await store.get(key)
        finally:
            await store.close()
    except (PortFailure, ValueError, OSError) as failure:
        remedy = "start it, or correct `store`; mail flows meanwhile (docs/redis.md, While it is away)"
        return [Told("store", "wrong", f"{kind}: {failure}", remedy)]
    return [Told("store", "ok", f"{kind}: writes and reads ({time.monotonic() - started:.3f} s)")]


async def _mailstores(settings: Settings) -> list[Told]:
    from gateway.delivery.recipients_probe import MEANING, Recipients
    from gateway.node.self_test import probe_all

    found = []
    try:
        probes = await probe_all(settings)
    except (ValueError, OSError) as error:
        return [Told("mailstore", "wrong", str(error), "correct `routes`")]
    for one in probes:
        text = f"{one.mailstore} {MEANING[one.result]}"
        if one.result is Recipients.UNREACHABLE:
            remedy = f"start {one.mailstore}, or correct its route; clients hear 451 till then"
            found.append(Told("mailstore", "wrong", f"{text}: {one.detail}", remedy))
        elif one.result is Recipients.ACCEPTS_ALL:
            remedy = "let it refuse unknown recipients, or list them (`routes: recipients`); see docs/mailstores"
            found.append(Told("mailstore", "wrong", text, remedy))
        else:
            found.append(Told("mailstore", "ok", text))
    return found


async def _bypass(settings: Settings, dns: Resolver) -> list[Told]:
    from gateway.delivery.bypass import Question, Result, ask, targets_of
    from gateway.mail.address import Mailbox
    from gateway.ports.failure import PortFailure

    found = []
    ours = [settings.hostname, *(one.host for one in settings.publish.mx)]
    for domain in dict.fromkeys(d for route in settings.routes for d in route.domains if not d.startswith("*.")):
        try:
            await dns.lookup(domain, "MX")  # where DNS is away no door is seen, and that proves nothing
            targets = await targets_of(domain, dns, gateways=ours)
        except PortFailure as failure:
            found.append(Told("bypass", "unknown", f"{domain}: {failure}", "make DNS answer, then look again"))
            continue
        question = Question(settings.hostname, Mailbox("postmaster", domain), timeout=BYPASS_SECONDS)
        answers = [one for many in await asyncio.gather(*(ask(t, question, dns) for t in targets)) for one in many]
        doors = [f"{one.target}" for one in answers if one.result is Result.OPEN]
        unclear = [f"{one.target}" for one in answers if one.result is Result.UNCLEAR]
        if doors:
            remedy = f"let {_list(doors)} take mail of the nodes only (docs/mailstores)"
            found.append(Told("bypass", "wrong", f"{domain}: {_list(doors)} takes mail from anybody", remedy))
        elif unclear:
            remedy = f"mxgw doctor bypass --domain {domain} shows the replies"
            found.append(Told("bypass", "unknown", f"{domain}: not clear at {_list(unclear)}", remedy))
        else:
            found.append(Told("bypass", "ok", f"{domain}: no other way in was found, seen from here"))
    return found


async def _clock(settings: Settings) -> list[Told]:
    from gateway.node.duties import board_of
    from gateway.ports.failure import PortFailure

    found = [await asyncio.to_thread(_synchronized)]
    if not settings.store.startswith(("redis", "rediss", "sentinel", "cluster")):
        return found
    try:
        board = board_of(settings)
        try:
            before = time.time()
            there, after = await board.now(), time.time()
        finally:
            await board.close()
    except (PortFailure, ValueError, OSError):
        return found  # the store's own step says why
    return [*found, clock_told(there - (before + after) / 2)]


def clock_told(ahead: float) -> Told:
    """ahead: seconds by which Redis is ahead of us."""
    if abs(ahead) > CLOCK_SECONDS:
        text = f"this machine and Redis differ by {abs(ahead):.1f} s"
        return Told("clock", "wrong", text, "let both machines take the time from the same servers (chrony)")
    return Told("clock", "ok", f"within {max(abs(ahead), 0.001):.3f} s of Redis")


def _synchronized() -> Told:
    program = shutil.which("timedatectl")
    told = ""
    if program:
        try:
            words = [program, "show", "--property=NTPSynchronized", "--value"]
            told = subprocess.run(words, capture_output=True, text=True, timeout=5, check=False).stdout.strip()  # noqa: S603
        except (OSError, subprocess.TimeoutExpired):
            told = ""
    if told == "no":
        return Told("clock", "wrong", "nobody keeps it right", "start chrony or systemd-timesyncd")
    if told == "yes":
        return Told("clock", "ok", "kept right by the network's time")
    return Told("clock", "note", "whether somebody keeps it right is not to be seen here (a container?): ask its host")


def _list(values: Sequence[object]) -> str:
    return ", ".join(map(str, values))
