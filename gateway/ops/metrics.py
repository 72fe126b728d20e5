"""Prometheus metrics: every count has a closed set of labels and begins at zero; no address or domain is a label.

What there is stands in :mod:`gateway.ops.catalogue`. All processes of a node write to files in one folder
(prometheus_client's multiprocess mode), and the supervisor adds them up: :func:`use_folder` must run before the first
metric is made, so it stands in the process's start. Findings of the connect phase are counted once for each transaction
that carries them.

Known gaps: no exemplars; pushes nowhere.
"""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from gateway import __version__
from gateway.mail.finding import Finding, Outcome, Why
from gateway.mail.phase import Phase
from gateway.mail.transaction import Transaction
from gateway.mail.verdict import Verdict
from gateway.ops import catalogue
from gateway.ops.dns_metrics import DnsMetrics
from gateway.ops.metric_files import MetricFiles
from gateway.ports.observer import Record
from gateway.ports.store_state import StoreState

log = logging.getLogger("mxgw.node")

_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
_STORE: Final = "store"


def use_folder(folder: Path) -> None:
    """Make an empty folder for the counts of this node's processes; children inherit it through the environment."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.environ[_FOLDER] = str(folder)


class MetricsObserver:
    """``ports.observer.Observer``, and callbacks for DNS, store and the loop. emit gets each decision record."""

    def __init__(self, emit: Callable[[Record], None] = lambda _record: None) -> None:
        self._emit = emit
        self.listed: Callable[[str], bool] = lambda _domain: False
        """Whether the recipients of a domain are known without asking a mailstore."""

        def of(name: str) -> Any:
            return catalogue.ALL[name].make()

        self.connections = of("connections")
        self.sessions = of("sessions_active")
        self.sessions_limit = of("sessions_limit")
        self.inflight = of("inflight_deliveries")
        self.session_seconds = of("session_duration_seconds")
        self.banner_delay = of("banner_delay_seconds")
        self.replies = of("smtp_replies")
        self.transactions = of("transactions")
        self.phases = of("phase_duration_seconds")
        self.sizes = of("message_size_bytes")
        self.tarpit = of("tarpit_seconds")
        self.tarpitted = of("tarpitted_sessions")
        self.handshakes = of("tls_handshakes")
        self.handshake_failures = of("tls_handshake_failures")
        self.handshake_seconds = of("tls_handshake_duration_seconds")
        self.auth = {name: of(name) for name in ("spf", "dkim", "arc")}
        self.dmarc = of("dmarc")
        self.greylist = of("greylist")
        self.greylist_delay = of("greylist_delay_seconds")
        self.rbl = of("rbl_hits")
        self.rate = of("ratelimit")
        self.recipients = of("recipient_checks")
        self.failopen = of("failopen")
        self.crashes = of("check_crashes")
        self.dns_lookup = DnsMetrics().lookup
        self.store_last = "ok"
        self.store = of("store_ops")
        self.store_seconds = of("store_op_duration_seconds")
        self.store_state = of("store_state")
        self.store_breaker = of("store_breaker_open")
        self._store_is = ""
        self.attempts = of("mailstore_attempts")
        self.attempt_seconds = of("mailstore_duration_seconds")
        self.mailstore_replies = of("mailstore_replies")
        self.mailstore_up = of("mailstore_up")
        self.ledger = of("ledger")
        self.loop_lag = of("loop_lag_seconds")
        self.log_dropped = of("log_dropped").labels("stdout")

    def known(
        self,
        mailstores: Iterable[str],
        lists: Iterable[str],
        checks: Iterable[str],
        tls_causes: Iterable[str] = (),
        listeners: Iterable[str] = (),
        profiles: Iterable[str] = (),
    ) -> None:
        """The names that settings, policy and other packages bring: their counts begin at zero too. May be called
        again with more."""
        bring = {
            "mailstore": tuple(dict.fromkeys(mailstores)),
            "list": tuple(lists),
            "check": tuple(checks),
            "cause": tuple(tls_causes),
            "listener": tuple(listeners),
            "profile": tuple(profiles),
        }
        for mailstore in bring["mailstore"]:
            self.mailstore_up.labels(mailstore).set(1)
        for metric, instrument in (
            ("connections", self.connections),
            ("sessions_active", self.sessions),
            ("sessions_limit", self.sessions_limit),
            ("transactions", self.transactions),
            ("tls_handshake_failures", self.handshake_failures),
            ("rbl_hits", self.rbl),
            ("failopen", self.failopen),
            ("check_crashes", self.crashes),
            ("mailstore_attempts", self.attempts),
            ("mailstore_replies", self.mailstore_replies),
            ("mailstore_duration_seconds", self.attempt_seconds),
        ):
            for zero in catalogue.ALL[metric].zeros(bring):
                instrument.labels(*zero)

    # ---- ports.observer.Observer

    def transaction(self, record: Record) -> None:
        """Count a decision record and hand it to the log."""
        result = ""
        if record.get("event") == "transaction":
            result = str(record.get("result", ""))
            self.transactions.labels(result, str(record.get("profile", ""))).inc()
            for phase, spent in record.get("t", {}).items():
                if phase != "total":
                    self.phases.labels(phase).observe(spent)
            if "size" in record:
                self.sizes.observe(record["size"])
        if record.get("event") in ("transaction", "reject"):
            self._findings(record, accepted=result == "accepted")
        self._emit(record)

    def _findings(self, record: Record, *, accepted: bool) -> None:
        findings: Mapping[str, Mapping[str, Any]] = record.get("findings", {})
        for check, found in findings.items():
            evidence = found.get("evidence", {})
            if check in self.auth:
                self.auth[check].labels(found["outcome"]).inc()
            elif check == "dmarc":
                done = record.get("dmarc_policy", {}).get("done", catalogue.NOT_APPLIED)
                self.dmarc.labels(found["outcome"], done, str(evidence.get("policy", "none"))).inc()
            elif check == "dnsbl":
                for name in evidence.get("listed", ()):
                    self.rbl.labels(str(name)).inc()
            cause = found.get("cause")
            if cause:
                if cause["why"] == Why.CRASH.value:
                    self.crashes.labels(check).inc()
                if accepted:
                    self.failopen.labels(check, cause["why"]).inc()

    def judged(self, phase: Phase, tx: Transaction, verdict: Verdict) -> None:
        """A phase was judged: what is found anew in each phase is counted here. For ``Pipeline.beside``."""
        if verdict.reason == "blocked":
            return  # nothing else was asked: what stands there is of the phase before
        rate = tx.findings.get("rate")
        if rate is not None and phase is not Phase.HELO:
            what = str(rate.evidence.get("what", "none"))
            self.rate.labels(what if what in catalogue.LIMITED else "none", rate.outcome.value).inc()
        recipient = tx.findings.get("recipient")
        if recipient is not None and phase is Phase.RCPT:
            listed = tx.rcpt is not None and self.listed(tx.rcpt.domain)
            source = "cache" if recipient.evidence.get("cached") is True else "list" if listed else "callout"
            self.recipients.labels(source, _answer(recipient)).inc()

    def reply(self, verb: str, code: int, reason: str) -> None:
        """Count a reply; a verb that we do not know is one label, whatever the client called it."""
        verb = verb if verb in catalogue.VERBS else catalogue.OTHER
        # 3yz asks for more of what was begun: good news
        kind = "2xx" if code < 400 else f"{code // 100}xx"
        self.replies.labels(verb, kind, reason).inc()

    def connection(self, family: int, result: str, listener: str = "") -> None:
        """Count a connection."""
        self.connections.labels(listener, f"v{family}", result).inc()

    def greeted(self, seconds: float) -> None:
        """Time our greeting."""
        self.banner_delay.observe(seconds)

    def held(self, seconds: float) -> None:
        """Add up for how long clients are held."""
        self.tarpit.inc(seconds)

    def session_ended(self, seconds: float, ended: str, session: str = "") -> None:  # noqa: ARG002
        """Count and time a session."""
        self.session_seconds.labels(ended).observe(seconds)

    def tls_handshake(self, side: str, version: str, result: str) -> None:
        """Count a handshake."""
        self.handshakes.labels(side, version if version in catalogue.TLS_VERSIONS else "", result).inc()

    def tls_time(self, side: str, seconds: float) -> None:
        """Time a handshake."""
        self.handshake_seconds.labels(side).observe(seconds)

    def tls_failure(self, side: str, cause: str) -> None:
        """Count why a handshake failed."""
        self.handshake_failures.labels(side, cause).inc()

    def mailstore_attempt(self, mailstore: str, result: str, seconds: float) -> None:
        """Count and time a hand-over."""
        self.attempts.labels(mailstore, result).inc()
        self.attempt_seconds.labels(mailstore).observe(seconds)

    def mailstore_reply(self, mailstore: str, phase: str, code: int) -> None:
        """Count a reply of a mailstore."""
        self.mailstore_replies.labels(mailstore, phase, "2xx" if code < 400 else f"{code // 100}xx").inc()

    # ---- callbacks

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
        self.store_breaker.labels(_STORE).set(state == StoreState.DOWN.value)

    def store_op(self, op: str, result: str, seconds: float) -> None:
        """A call of the store ended: ok, or why it failed."""
        self.store_last = result if self._store_is in ("", StoreState.UP.value) else self._store_is
        self.store.labels(_STORE, op, result).inc()
        self.store_seconds.labels(_STORE, op).observe(seconds)


def _answer(recipient: Finding) -> str:
    if recipient.outcome is Outcome.TEMPERROR:
        return "temperror"
    return "unknown" if recipient.reason == "no-such-recipient" else recipient.reason


class NodeMetrics:
    """What the supervisor alone knows, and the sum over all processes."""

    def __init__(self, folder: Path) -> None:
        def of(name: str) -> Any:
            return catalogue.ALL[name].make()

        self._files = MetricFiles(folder)
        self._in_force: tuple[str, str] | None = None
        of("build_info").labels(__version__, platform.python_version()).set(1)
        self._policy = of("policy_info")
        self._mismatch = of("cluster_policy_mismatch")
        self._mismatch.set(0)
        self._reload = of("reload_last_success")
        self._reloads = of("reloads")
        self._certificates = of("tls_certificate_not_after_timestamp_seconds")
        self._certified: set[tuple[str, str]] = set()
        self._accepts_all = of("mailstore_accepts_all")
        self.crashes = of("worker_crashes")
        self._unsummed = of("worker_counts_failed")
        self._not_shared = of("greylist_not_shared")
        self._sts = of("mtasts_mismatch")
        self._at_rest = (of("spool_messages"), of("spool_oldest_seconds"), of("reports"))
        for nothing in self._at_rest[:2]:
            nothing.set(0)
        for what in ("policy", "tls", "config"):
            self._reload.labels(what).set(1)

    def known(self, routes: Iterable[tuple[str, str]], sts_misfits: Mapping[str, bool]) -> None:
        """routes: label and mailstore, of all of them. sts_misfits: domain -> whether the MTA-STS policy that the node
        serves for it leaves out this host."""
        for route, mailstore in routes:
            self._accepts_all.labels(route, mailstore).set(0)
        for domain, odd in sts_misfits.items():
            self._sts.labels(domain).set(1 if odd else 0)

    def policy(self, digest: str, generation: int = 0) -> None:
        """This policy is in force now."""
        now = digest, str(generation)
        if self._in_force is not None and self._in_force != now:
            self._policy.labels(*self._in_force).set(0)
        self._policy.labels(*now).set(1)
        self._in_force = now

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
        self._reloads.labels(what, "ok" if ok else "failed").inc()

    async def worker_gone(self, pid: int) -> None:
        """Its gauges count no more; its counters stay in the sums; where they cannot be added up, that is told."""
        try:
            # off the event loop: a scrape may hold the files for long
            await asyncio.to_thread(self._files.gone, pid)
        except OSError as error:
            self._unsummed.inc()
            log.error("what worker %d counted cannot be added up: %s", pid, error, extra={"event": "worker"})

    def text(self) -> bytes:
        """All metrics of the node in Prometheus's text format. Reads files: not for the event loop."""
        return self._files.text()
