"""The label values that settings and policy bring to the metrics, so that their counts begin at zero.

Known gaps: what a policy no longer names keeps its series until the node ends.
"""

from __future__ import annotations

from gateway.checks import CHECKS
from gateway.cluster.list_watch import Watched
from gateway.config import Settings
from gateway.delivery.url import MailstoreUrl
from gateway.ops.metrics import MetricsObserver, NodeMetrics
from gateway.ops.tlsa_metrics import TlsaMetrics
from gateway.outside.mta_sts import fits
from gateway.outside.records import sts_policy
from gateway.policy.model import Policy
from gateway.smtp.tls_watch import CAUSES


class CountedNames:
    """A worker's. limit: sessions that it serves at most."""

    def __init__(self, observer: MetricsObserver, settings: Settings, limit: int) -> None:
        self._observer = observer
        self._seen: Policy | None = None
        listeners = [listener.name or listener.address for listener in settings.listeners]
        observer.known(
            mailstores=mailstores(settings),
            lists=(),
            checks=dict.fromkeys(check.name for check in CHECKS),
            tls_causes=CAUSES,
            listeners=listeners,
        )
        for listener in listeners:
            observer.sessions_limit.labels(listener).set(limit)

    def of(self, policy: Policy) -> None:
        """This policy is in force; called again and again."""
        if policy is self._seen:
            return
        self._seen = policy
        lists = [site.label for site in Watched.of(policy).sites]
        self._observer.known(
            mailstores=(),
            lists=lists,
            checks=(),
            profiles=dict.fromkeys(profile.name for profile in (policy.default, *policy.profiles)),
        )


def mailstores(settings: Settings) -> list[str]:
    """The names of all, as metrics have them."""
    return [str(MailstoreUrl.parse(url)) for route in settings.routes for url in route.mailstore]


def begin_node(metrics: NodeMetrics, settings: Settings) -> None:
    """The supervisor's."""
    routes = [(route.label, str(MailstoreUrl.parse(url))) for route in settings.routes for url in route.mailstore]
    policy = sts_policy(settings)
    odd = policy is not None and policy.mode != "none" and not any(fits(mx, settings.hostname) for mx in policy.mx)
    domains = [domain for route in settings.routes for domain in route.domains]
    metrics.known(routes, dict.fromkeys(domains, odd) if policy else {})
    TlsaMetrics().seen({settings.hostname: None})
