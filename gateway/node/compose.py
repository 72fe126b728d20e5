"""From settings and policy to the services that all sessions of a worker share.

Known gaps: none.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gateway.adapters.clock_system import SystemClock
from gateway.adapters.dns_broken import BrokenResolver
from gateway.adapters.dns_cache import CachingResolver
from gateway.adapters.dns_net import NetResolver
from gateway.adapters.dns_zone import ZoneResolver
from gateway.adapters.store_memory import MemoryStore
from gateway.adapters.store_near import NearStore
from gateway.adapters.store_open import open_store
from gateway.config import Settings, split_address
from gateway.delivery.open import open_mailstore
from gateway.delivery.routes import Route, Router
from gateway.delivery.stamp import Identity
from gateway.delivery.url import MailstoreUrl
from gateway.node.timed_store import TimedStore
from gateway.ops.metrics import MetricsObserver
from gateway.pipeline import Pipeline
from gateway.policy.model import Policy
from gateway.ports import Ports
from gateway.ports.clock import Clock
from gateway.ports.dns import Resolver
from gateway.ports.observer import Observer
from gateway.ports.store import Store
from gateway.reception import Services
from gateway.smtp.listener import SmtpServer


@dataclass(frozen=True, slots=True)
class Worker:
    """What a worker runs and has to close."""

    server: SmtpServer
    router: Router
    dns: Resolver
    store: Store


def router_for(settings: Settings, observer: Observer | None = None) -> Router:
    """The routes of the settings with their mailstores (which connect lazily). Raises ValueError."""
    return Router(
        [
            Route(
                route.domains,
                tuple(open_mailstore(MailstoreUrl.parse(url), settings.hostname, observer) for url in route.mailstore),
                route.label,
            )
            for route in settings.routes
        ],
        observer,
    )


def resolver_for(settings: Settings, clock: Clock, observer: MetricsObserver | None = None) -> CachingResolver:
    """The resolvers of the settings behind a cache."""
    servers = [split_address(server) for server in settings.dns.servers] or None
    return CachingResolver(
        NetResolver(servers, settings.dns.timeout), clock, on_lookup=observer.dns_lookup if observer else None
    )


def identity_of(settings: Settings) -> Identity:
    """Who this node is."""
    return Identity(settings.hostname, settings.authserv_id, settings.header_prefix)


def postmaster_domain(settings: Settings) -> str:
    """Where mail for ``<Postmaster>`` goes: the first domain that is no wildcard, else the first below its wildcard."""
    domains = [domain for route in settings.routes for domain in route.domains]
    return next((domain for domain in domains if not domain.startswith("*.")), domains[0].removeprefix("*."))


def worker_for(
    settings: Settings,
    policy: Callable[[], Policy],
    tls: Callable[[], ssl.SSLContext | None],
    observer: MetricsObserver,
) -> Worker:
    """Everything a worker needs. Raises ValueError for a store or mailstore that cannot be used."""
    clock = SystemClock()
    dns = resolver_for(settings, clock, observer)
    secret = settings.secret.get_secret_value().encode() if settings.secret else b""
    shared = TimedStore(open_store(settings.store, settings.state_dir, clock, secret), observer.store_op)
    store = NearStore(shared, clock)
    router = router_for(settings, observer)
    services = Services(
        identity=identity_of(settings),
        pipeline=Pipeline(Ports(dns, store, router, clock)),
        policy=policy,
        relay=router,
        observer=observer,
        limits=settings.limits.wire(),
        postmaster_domain=postmaster_domain(settings),
    )
    return Worker(SmtpServer(services, tls=tls, spool_dir=settings.spool_dir), router, dns, store)


def live_ports(settings: Settings, router: Router) -> Ports:
    """Real DNS, an empty store in memory: for ``mxgw explain`` on a node."""
    clock = SystemClock()
    return Ports(resolver_for(settings, clock), MemoryStore(clock), router, clock)


def offline_ports(router: Router, zone: Path | None = None) -> Ports:
    """No network: DNS from a master file, or out where there is none; an empty store in memory. Raises ValueError,
    OSError."""
    clock = SystemClock()
    dns: Resolver = ZoneResolver.from_text(zone.read_text(encoding="utf-8")) if zone else BrokenResolver()
    return Ports(dns, MemoryStore(clock), router, clock)
