"""From settings and policy to the services that all sessions of a worker share.

Known gaps: none.
"""

from __future__ import annotations

import logging
import os
import secrets
import ssl
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from gateway.adapters.clock_system import SystemClock
from gateway.adapters.dns_broken import BrokenResolver
from gateway.adapters.dns_cache import CachingResolver
from gateway.adapters.dns_net import NetResolver
from gateway.adapters.dns_recording import RecordingResolver
from gateway.adapters.dns_zone import ZoneResolver
from gateway.adapters.limiter_local import LocalLimiter
from gateway.adapters.store_memory import MemoryStore
from gateway.adapters.store_near import NearStore
from gateway.adapters.store_open import open_store
from gateway.auth.arc_seal import Sealer
from gateway.checks.recipient_cache import may_be_near
from gateway.cluster.accounts import Accounts
from gateway.cluster.blocks import BlockTable, BlockWatch, listed
from gateway.config import RouteSettings, Settings, split_address
from gateway.config.arc_section import read_key
from gateway.delivery.arc_sealing import SealingRelay
from gateway.delivery.ledger import DeliveryLedger
from gateway.delivery.open import open_mailstore
from gateway.delivery.recipients_list import AcceptedRecipients, FileRecipients, ListedRecipients, RecipientList
from gateway.delivery.routes import Relay, Route, Router
from gateway.delivery.stamp import Identity
from gateway.delivery.url import MailstoreUrl
from gateway.delivery.wire import Timeouts
from gateway.mail.limits import MAILSTORE_DOT_LEAST, TARPIT_SLOTS
from gateway.node.descriptors import make_room
from gateway.node.duties import blocks_file, board_of
from gateway.node.greylist_desk import Desk
from gateway.node.list_desk import NOTICE as LISTS
from gateway.node.list_desk import WorkerLists
from gateway.node.notices import BLOCKS, NODES, LiveNodes, Notices
from gateway.node.replaying import Journal, journal_of
from gateway.node.shadow_desk import NOTICE as SHADOW
from gateway.node.shadow_desk import ShadowDesk
from gateway.node.store_states import StoreStates
from gateway.node.timed_store import TimedStore
from gateway.node.tracing import Traces, traces_of
from gateway.ops.metrics import MetricsObserver
from gateway.pipeline import Pipeline, both
from gateway.policy.model import Policy
from gateway.ports import Ports
from gateway.ports.clock import Clock
from gateway.ports.dns import Asked, Resolver
from gateway.ports.failure import PortFailure
from gateway.ports.mailstore import Mailstore, RecipientDirectory
from gateway.ports.observer import Observer
from gateway.ports.store import Store
from gateway.reception import Services
from gateway.smtp.listener import SmtpServer

log = logging.getLogger("mxgw.node")


@dataclass(frozen=True, slots=True)
class Worker:
    """What a worker runs and has to close."""

    server: SmtpServer
    router: Router
    dns: Resolver
    store: Store
    greylist: Desk
    lists: WorkerLists
    accounts: Accounts
    shadow: ShadowDesk
    journal: Journal | None
    traces: Traces | None = None


def router_for(settings: Settings, observer: Observer | None = None, ledger: DeliveryLedger | None = None) -> Router:
    """The routes of the settings with their mailstores (which connect lazily; a URL that stands at several routes is
    one mailstore). Raises ValueError."""
    opened: dict[MailstoreUrl, Mailstore] = {}
    routes = []
    # an answer's budget that was set short has room for a hand-over too
    timeouts = Timeouts(dot_least=min(MAILSTORE_DOT_LEAST, settings.limits.answer_budget / 10))
    for route in settings.routes:
        urls = [MailstoreUrl.parse(url) for url in route.mailstore]
        for url in (replace(url, weight=0.0) for url in urls):
            if url not in opened:
                # file names in a Maildir that nodes share must differ from node to node
                name = settings.node if url.scheme == "maildir" else settings.hostname
                opened[url] = open_mailstore(url, name, observer, timeouts, share=settings.worker_count)
        mailstores = tuple(opened[replace(url, weight=0.0)] for url in urls)
        weights = tuple(url.weight for url in urls)
        routes.append(Route(route.domains, mailstores, route.label, weights, _recipients_of(route)))
    return Router(routes, observer, ledger=ledger, least=timeouts.dot_least)


def _recipients_of(route: RouteSettings) -> RecipientDirectory | None:
    """None: the mailstores are asked. Raises FaultsError for a file that cannot be used."""
    if route.recipients.list is not None:
        return ListedRecipients(RecipientList.of(route.recipients.list))
    if route.recipients.file is not None:
        return FileRecipients(route.recipients.file, SystemClock())
    return AcceptedRecipients() if route.recipients.ask == "accept" else None


def resolver_for(settings: Settings, clock: Clock, observer: MetricsObserver | None = None) -> CachingResolver:
    """The resolvers of the settings behind a cache."""
    servers = [split_address(server) for server in settings.dns.servers] or None
    return CachingResolver(
        NetResolver(servers, settings.dns.timeout), clock, on_lookup=observer.dns_lookup if observer else None
    )


def identity_of(settings: Settings) -> Identity:
    """Who this node is."""
    return Identity(settings.hostname, settings.authserv_id, settings.header_prefix, settings.node)


def postmaster_domain(settings: Settings) -> str:
    """Where mail for ``<Postmaster>`` goes: the first domain that is no wildcard, else the first below its wildcard."""
    domains = [domain for route in settings.routes for domain in route.domains]
    return next((domain for domain in domains if not domain.startswith("*.")), domains[0].removeprefix("*."))


def relay_for(settings: Settings, router: Router) -> Relay:
    """The router, sealing before it where the settings say so. Raises ValueError for a key that cannot be used."""
    arc = settings.arc.seal
    return SealingRelay(router, Sealer(arc.domain, arc.selector, read_key(arc.key))) if arc else router


def worker_for(
    settings: Settings,
    policy: Callable[[], Policy],
    tls: Callable[[], ssl.SSLContext | None],
    observer: MetricsObserver,
    notices: Notices,
) -> Worker:
    """Everything a worker needs. Raises ValueError for a store or mailstore that cannot be used."""
    clock = SystemClock()
    blocks = BlockTable(clock)
    notices.on(BLOCKS, blocks.told)
    dns = resolver_for(settings, clock, observer)
    secret = settings.shared_secret
    told = StoreStates(observer).told
    inner = open_store(
        settings.store, settings.state_dir, clock, secret, told, settings.node, settings.worker_count
    )
    shared = TimedStore(inner, observer.store_op)
    store = NearStore(shared, clock, keep=may_be_near)
    alive = LiveNodes()
    notices.on(NODES, alive.told)
    limiter = LocalLimiter(clock, lambda: alive.number * settings.worker_count)
    accounts = Accounts(store, limiter, policy, f"{settings.node}/{os.getpid()}-{secrets.token_hex(3)}")
    remember = settings.limits.ledger_remember
    ledger = DeliveryLedger(shared, secret, remember, observer.ledger_result) if remember else None
    router = router_for(settings, observer, ledger)
    limits = settings.limits.wire(settings.worker_count)
    desk = Desk(clock, observer.greylisted)
    lists = WorkerLists()
    notices.on(LISTS, lists.told)
    shadow = ShadowDesk()
    notices.on(SHADOW, shadow.told)
    observer.listed = router.listed
    ports = Ports(dns, store, router, clock, router.listed, router.live, blocks)
    ports = replace(ports, greylist=desk, lists=lists, presence=accounts, limiter=limiter)
    services = Services(
        identity=identity_of(settings),
        pipeline=Pipeline(ports, beside=both(observer.judged, shadow.note)),
        accounts=accounts,
        policy=policy,
        relay=relay_for(settings, router),
        observer=observer,
        limits=replace(limits, sessions=make_room(limits.sessions)),
        postmaster_domain=postmaster_domain(settings),
        keeps_requiretls=lambda: router.keeps_requiretls,
        reply_read=router.reply_read,
    )
    if journal := journal_of(settings, policy):
        services = journal.beside(services)
    if traces := traces_of(settings):
        services = traces.beside(services)
    slots = max(1, TARPIT_SLOTS // settings.worker_count)
    server = SmtpServer(services, tls=tls, spool_dir=settings.spool_dir, tarpit_slots=slots)
    return Worker(server, router, dns, store, desk, lists, accounts, shadow, journal, traces)


def live_ports(settings: Settings, router: Router) -> Ports:
    """Real DNS, an empty store in memory: for ``mxgw explain`` on a node."""
    clock = SystemClock()
    return Ports(resolver_for(settings, clock), MemoryStore(clock), router, clock, router.listed, router.live)


async def blocks_now(settings: Settings) -> BlockTable:
    """The emergency blocks that stand on the board, or, where it is away, those of this node's last word: for
    ``mxgw explain``."""
    clock = SystemClock()
    table = BlockTable(clock)
    watch = BlockWatch(board := board_of(settings), clock, table.told, blocks_file(settings))
    watch.start()
    try:
        table.fill(await listed(board))
    except PortFailure:
        log.warning("the board does not answer: emergency blocks as this node knew them last")
    finally:
        await board.close()
    return table


def zone_or_net(settings: Settings | None, zone: Path | None) -> Resolver:
    """For commands: DNS from a master file, else by the settings' resolvers, else by the system's. Raises ValueError,
    OSError."""
    if zone is not None:
        return ZoneResolver.from_text(zone.read_text(encoding="utf-8"))
    return resolver_for(settings, SystemClock()) if settings else CachingResolver(NetResolver(None), SystemClock())


def recorded_ports(settings: Settings | None, zone: Path | None) -> tuple[Ports, Callable[[], tuple[Asked, ...]]]:
    """For commands that ask one question: DNS as ``zone_or_net`` has it, an empty store, no recipients; and what DNS
    was asked so far. Raises ValueError, OSError."""
    clock = SystemClock()
    dns = RecordingResolver(zone_or_net(settings, zone))
    return Ports(dns, MemoryStore(clock), Router([]), clock), lambda: dns.asked


def shared_store(settings: Settings) -> tuple[Store, Clock]:
    """The store that the nodes share, and its clock, for commands. Raises ValueError, OSError."""
    clock = SystemClock()
    secret = settings.shared_secret
    return open_store(settings.store, settings.state_dir, clock, secret), clock


def offline_ports(router: Router, zone: Path | None = None) -> Ports:
    """No network: DNS from a master file, or out where there is none; an empty store in memory. Raises ValueError,
    OSError."""
    clock = SystemClock()
    dns: Resolver = ZoneResolver.from_text(zone.read_text(encoding="utf-8")) if zone else BrokenResolver()
    return Ports(dns, MemoryStore(clock), router, clock, router.listed, router.live)
