"""Prometheus metrics: every count has a closed set of labels and begins at zero; no address or domain is a label.

All processes of a node write to files in one folder (prometheus_client's multiprocess mode), and the supervisor adds
them up: :func:`use_folder` must run before this module's first metric is made, so it stands in the process's start.
Findings of the connect phase are counted once for each transaction that carries them.

Known gaps: no exemplars; pushes nowhere.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from gateway import __version__
from gateway.mail.finding import Outcome, Why
from gateway.mail.phase import Phase
from gateway.ports.greylist import DELAYS, STATES
from gateway.ports.observer import Record
from gateway.ports.store_state import StoreState

_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
_SECONDS: Final = (0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_SESSION: Final = (0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600)
_OCTETS: Final = (1e3, 4e3, 16e3, 64e3, 256e3, 1e6, 4e6, 16e6, 64e6)
_RESULTS: Final = ("accepted", "deferred", "rejected", "aborted", "partly")
_ENDED: Final = ("quit", "timeout", "lost", "refused", "drained", "error")
_CONNECTED: Final = ("accepted", "refused_limit", "refused_drain", "proxy_error", "probe")
_VERBS: Final = ("CONNECT", "EHLO", "HELO", "STARTTLS", "MAIL", "RCPT", "DATA", "BDAT", "RSET", "NOOP", "QUIT", "VRFY")
_LEDGER: Final = ("recorded", "delivered-before", "busy", "unavailable")
_HANDED: Final = ("delivered", "deferred", "refused", "maybe", *(why.value for why in Why))
_DNS: Final = ("ok", "nxdomain", "nodata", *(why.value for why in Why))


def use_folder(folder: Path) -> None:
    """Make an empty folder for the counts of this node's processes; children inherit it through the environment."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.environ[_FOLDER] = str(folder)


class MetricsObserver:
    """``ports.observer.Observer``, and callbacks for DNS, store and the loop. emit gets each decision record."""

    def __init__(self, emit: Callable[[Record], None] = lambda _record: None) -> None:
        from prometheus_client import Counter, Gauge, Histogram

        self._emit = emit
        # a registry of its own is not needed: in multiprocess mode the files are what is collected
        registry = _registry()

        def counter(name: str, text: str, *labels: str) -> Any:
            return Counter(f"mxgw_{name}", text, labels, registry=registry)

        def seconds(name: str, text: str, *labels: str, buckets: Iterable[float] = _SECONDS) -> Any:
            return Histogram(f"mxgw_{name}", text, labels, registry=registry, buckets=tuple(buckets))

        self.connections = counter("connections", "SMTP connections", "family", "result")
        self.sessions = Gauge("mxgw_sessions_active", "Sessions now", registry=registry, multiprocess_mode="livesum")
        self.inflight = Gauge(
            "mxgw_inflight_deliveries", "Hand-overs on the way", registry=registry, multiprocess_mode="livesum"
        )
        self.session_seconds = seconds("session_duration_seconds", "Sessions", "ended", buckets=_SESSION)
        self.replies = counter("smtp_replies", "Replies", "verb", "class", "reason")
        self.transactions = counter("transactions", "Transactions", "result", "profile")
        self.phases = seconds("phase_duration_seconds", "Time spent by phase", "phase")
        self.sizes = Histogram("mxgw_message_size_bytes", "Content", registry=registry, buckets=_OCTETS)
        self.handshakes = counter("tls_handshakes", "TLS handshakes", "side", "version", "result")
        self.handshake_failures = counter("tls_handshake_failures", "Failed TLS handshakes", "side", "cause")
        self.auth = {name: counter(name, f"{name} results", "result") for name in ("spf", "dkim", "dmarc", "arc")}
        self.greylist = counter("greylist", "Greylisting", "outcome")
        self.greylist_delay = seconds("greylist_delay_seconds", "From first attempt to accepted one", buckets=DELAYS)
        self.rbl = counter("rbl_hits", "Listings by block or allow list", "list")
        self.rate = counter("ratelimit", "Rate limits", "rule", "outcome")
        self.failopen = counter("failopen", "Accepted though a check knew nothing", "check", "cause")
        self.crashes = counter("check_crashes", "Crashes inside a check", "check")
        self.dns = counter("dns_lookups", "Questions to the resolvers", "type", "result")
        self.dns_seconds = seconds("dns_lookup_duration_seconds", "Questions to the resolvers")
        self.store_last = "ok"
        self.store = counter("store_ops", "Calls of the shared store", "op", "result")
        self.store_seconds = seconds("store_op_duration_seconds", "Calls of the shared store")
        self.store_state = Gauge(
            "mxgw_store_state",
            "Workers that see the shared store so",
            ("state",),
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._store_is = ""
        self.attempts = counter("mailstore_attempts", "Hand-overs", "mailstore", "result")
        self.attempt_seconds = seconds("mailstore_duration_seconds", "Hand-overs", "mailstore")
        self.mailstore_up = Gauge(
            "mxgw_mailstore_up",
            "0: a worker's breaker for this mailstore is open",
            ("mailstore",),
            registry=registry,
            multiprocess_mode="livemin",
        )
        self.ledger = counter("ledger", "Hand-overs by what the ledger knew", "result")
        self.loop_lag = seconds("loop_lag_seconds", "How late the event loop was")
        self.log_dropped = counter("log_dropped", "Log lines that nobody read in time")
        self._at_zero()

    def _at_zero(self) -> None:
        # rate() sees a first event only where there was a zero before it
        for result in _CONNECTED:
            for family in ("v4", "v6"):
                self.connections.labels(family, result)
        for ended in _ENDED:
            self.session_seconds.labels(ended)
        for verb in _VERBS:
            for kind in ("2xx", "4xx", "5xx"):
                self.replies.labels(verb, kind, "")
        for result in _RESULTS:
            self.transactions.labels(result, "default")
        for phase in (*(phase.value for phase in Phase), "read", "relay"):
            self.phases.labels(phase)
        for total in self.auth.values():
            for outcome in Outcome:
                total.labels(outcome.value)
        for word in _LEDGER:
            self.ledger.labels(word)
        for state in STATES:
            self.greylist.labels(state)
        for result in _DNS:
            for rtype in ("A", "AAAA", "TXT", "MX", "PTR"):
                self.dns.labels(rtype, result)

    def known(
        self, mailstores: Iterable[str], lists: Iterable[str], checks: Iterable[str], tls_causes: Iterable[str] = ()
    ) -> None:
        """The names that settings, policy and other packages bring: their counts begin at zero too."""
        for cause in tls_causes:
            self.handshake_failures.labels("in", cause)
        for mailstore in mailstores:
            self.mailstore_up.labels(mailstore).set(1)
            for result in _HANDED:
                self.attempts.labels(mailstore, result)
        for name in lists:
            self.rbl.labels(name)
        for check in checks:
            self.crashes.labels(check)
            for why in Why:
                self.failopen.labels(check, why.value)

    # ---- ports.observer.Observer

    def transaction(self, record: Record) -> None:
        """Count a decision record and hand it to the log."""
        if record.get("event") == "transaction":
            result = str(record.get("result", ""))
            self.transactions.labels(result, str(record.get("profile", ""))).inc()
            for phase, spent in record.get("t", {}).items():
                if phase != "total":
                    self.phases.labels(phase).observe(spent)
            if "size" in record:
                self.sizes.observe(record["size"])
            self._findings(record.get("findings", {}), accepted=result == "accepted")
        self._emit(record)

    def _findings(self, findings: Mapping[str, Mapping[str, Any]], *, accepted: bool) -> None:
        for check, found in findings.items():
            evidence = found.get("evidence", {})
            if check in self.auth:
                self.auth[check].labels(found["outcome"]).inc()
            elif check == "dnsbl":
                for name in evidence.get("listed", ()):
                    self.rbl.labels(str(name)).inc()
            elif check == "rate":
                self.rate.labels(str(found["reason"]), found["outcome"]).inc()
            cause = found.get("cause")
            if cause:
                if cause["why"] == Why.CRASH.value:
                    self.crashes.labels(check).inc()
                if accepted:
                    self.failopen.labels(check, cause["why"]).inc()

    def reply(self, verb: str, code: int, reason: str) -> None:
        """Count a reply; a verb that we do not know is one label, whatever the client called it."""
        self.replies.labels(verb if verb in _VERBS else "other", f"{code // 100}xx", reason).inc()

    def connection(self, family: int, result: str) -> None:
        """Count a connection."""
        self.connections.labels(f"v{family}", result).inc()

    def session_ended(self, seconds: float, ended: str) -> None:
        """Count and time a session."""
        self.session_seconds.labels(ended).observe(seconds)

    def tls_handshake(self, side: str, version: str, result: str) -> None:
        """Count a handshake."""
        self.handshakes.labels(side, version, result).inc()

    def tls_failure(self, side: str, cause: str) -> None:
        """Count why a handshake failed."""
        self.handshake_failures.labels(side, cause).inc()

    def mailstore_attempt(self, mailstore: str, result: str, seconds: float) -> None:
        """Count and time a hand-over."""
        self.attempts.labels(mailstore, result).inc()
        self.attempt_seconds.labels(mailstore).observe(seconds)

    # ---- callbacks

    def dns_lookup(self, rtype: str, result: str, seconds: float) -> None:
        """A question went to the resolvers (nothing from the cache comes here)."""
        self.dns.labels(rtype, result).inc()
        self.dns_seconds.observe(seconds)

    def greylisted(self, state: str, waited: float) -> None:
        """Greylisting judged an attempt; waited: seconds since the first one, where it passed."""
        self.greylist.labels(state).inc()
        if state == "passed":
            self.greylist_delay.observe(waited)

    def ledger_result(self, word: str) -> None:
        """What the ledger meant for a hand-over; a word of ``delivery.ledger.WORDS``."""
        self.ledger.labels(word).inc()

    def store_is(self, state: str) -> None:
        """How the shared store is: a word of ``ports.store_state.StoreState``."""
        self._store_is = state
        for word in StoreState:
            self.store_state.labels(word.value).set(word.value == state)

    def store_op(self, op: str, result: str, seconds: float) -> None:
        """A call of the store ended: ok, or why it failed."""
        self.store_last = result if self._store_is in ("", StoreState.UP.value) else self._store_is
        self.store.labels(op, result).inc()
        self.store_seconds.observe(seconds)


class NodeMetrics:
    """What the supervisor alone knows, and the sum over all processes."""

    def __init__(self, folder: Path) -> None:
        from prometheus_client import Counter, Gauge

        registry = _registry()
        self._folder = folder
        self._digest = ""

        def gauge(name: str, text: str, *labels: str) -> Any:
            return Gauge(f"mxgw_{name}", text, labels, registry=registry, multiprocess_mode="livemostrecent")

        gauge("build_info", "Constant 1", "version", "python").labels(__version__, platform.python_version()).set(1)
        self._policy = gauge("policy_info", "1: the policy in force", "digest")
        self._mismatch = gauge("cluster_policy_mismatch", "1: this node's policy is not the cluster's")
        self._mismatch.set(0)
        self._reload = gauge("reload_last_success", "Whether the last reload worked", "what")
        self._certificates = gauge(
            "tls_certificate_not_after_timestamp_seconds", "When a certificate in force ends", "name", "key"
        )
        self._certified: set[tuple[str, str]] = set()
        self._accepts_all = gauge(
            "mailstore_accepts_all", "1: it takes any recipient, so none can be verified", "route", "mailstore"
        )
        self.crashes = Counter("mxgw_worker_crashes", "Workers that ended unasked", registry=registry)
        self._not_shared = Counter(
            "mxgw_greylist_not_shared", "Keys first here and on another node", ("cause",), registry=registry
        )
        for cause in ("first", "secret"):
            self._not_shared.labels(cause)
        for what in ("policy", "tls"):
            self._reload.labels(what).set(1)

    def policy(self, digest: str) -> None:
        """This policy is in force now."""
        if self._digest and self._digest != digest:
            self._policy.labels(self._digest).set(0)
        self._policy.labels(digest).set(1)
        self._digest = digest

    def policy_mismatch(self, odd: bool) -> None:
        """Whether this node's policy is not the cluster's."""
        self._mismatch.set(1 if odd else 0)

    def certificates(self, ends: Mapping[tuple[str, str], float]) -> None:
        """These certificates are in force now: (first name, kind of key) -> end, seconds since 1970."""
        for gone in self._certified - ends.keys():
            # a label cannot be taken back from the files; no comparison with NaN is true, so nothing alerts
            self._certificates.labels(*gone).set(float("nan"))
        for certificate, end in ends.items():
            self._certificates.labels(*certificate).set(end)
        self._certified |= ends.keys()

    def recipients_seen(self, found: Sequence[Mapping[str, Any]]) -> None:
        """What the self-test of recipient verification found; who did not answer keeps its last value."""
        known = {"accepts-all": 1, "verified": 0}
        for probe in found:
            if probe["result"] in known:
                self._accepts_all.labels(probe["route"], probe["mailstore"]).set(known[probe["result"]])

    def greylist_not_shared(self, cause: str, number: int) -> None:
        """Keys that were first on another node too, or nodes with another secret."""
        self._not_shared.labels(cause).inc(number)

    def reloaded(self, what: str, ok: bool) -> None:
        """A reload of ``what`` (policy, tls) worked or not."""
        self._reload.labels(what).set(1 if ok else 0)

    def worker_gone(self, pid: int) -> None:
        """Its gauges count no more; its counters stay in the sums."""
        from prometheus_client.multiprocess import mark_process_dead

        mark_process_dead(pid, str(self._folder))  # type: ignore[no-untyped-call]

    def text(self) -> bytes:
        """All metrics of the node in Prometheus's text format. Reads files: not for the event loop."""
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.multiprocess import MultiProcessCollector

        registry = CollectorRegistry()
        MultiProcessCollector(registry, str(self._folder))  # type: ignore[no-untyped-call]
        return generate_latest(registry)

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self._folder, ignore_errors=True)


def _registry() -> Any:
    from prometheus_client import CollectorRegistry

    return CollectorRegistry()
