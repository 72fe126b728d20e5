"""Every metric of a node, by area. docs/metrics.md is made of it, and rules and dashboards may use no other.

Label values are from closed sets, or names of the operator's settings; no foreign address, domain or id is ever one.

Known gaps: reports and the spool have rows so that boards can rest on them; this version has neither.
"""

from __future__ import annotations

from typing import Final

from gateway.mail.finding import Outcome, Why
from gateway.mail.phase import Phase
from gateway.mail.reply import REPLIES
from gateway.ops.metric import Labels, Metric
from gateway.ports.greylist import DELAYS, STATES
from gateway.ports.lists import STATES as LIST_STATES
from gateway.ports.purpose import PURPOSES
from gateway.ports.store_state import StoreState

SECONDS: Final = (0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
SESSION: Final = (0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600)
OCTETS: Final = (1e3, 4e3, 16e3, 64e3, 256e3, 1e6, 4e6, 16e6, 64e6)
FAMILIES: Final = ("v4", "v6")
RESULTS: Final = ("accepted", "deferred", "rejected", "aborted", "partly")
ENDED: Final = ("quit", "timeout", "lost", "refused", "drained", "error")
CONNECTED: Final = ("accepted", "refused_limit", "refused_drain", "proxy_error", "pregreet", "probe")
VERBS: Final = ("CONNECT", "EHLO", "HELO", "STARTTLS", "MAIL", "RCPT", "DATA", "BDAT", "RSET", "NOOP", "QUIT", "VRFY")
OTHER: Final = "other"
CLASSES: Final = ("2xx", "4xx", "5xx")
TLS_VERSIONS: Final = ("", "SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
HANDSHAKES: Final = ("ok", "handshake_error", "timeout", "client_abort")
LEDGER: Final = ("recorded", "delivered-before", "busy", "unavailable")
PHASES: Final = (*(phase.value for phase in Phase), "read", "relay")
WHYS: Final = tuple(why.value for why in Why)
OUTCOMES: Final = tuple(outcome.value for outcome in Outcome)
HANDED: Final = ("delivered", "deferred", "refused", "maybe", "unreachable", *(why for why in WHYS if why != "refused"))
DNS: Final = ("ok", "nxdomain", "nodata", *WHYS)
STORE_OPS: Final = (
    "greylist",
    "greylist_mark",
    "count",
    "put",
    "get",
    "delete",
    "ledger_begin",
    "ledger_settle",
    "ledger_forget",
    "ping",
)
LIMITED: Final = ("connections", "sessions", "messages", "recipients", "unknown", "errors", "none")
SAID: Final = ("greeting", "hello", "starttls", "xclient", "mail", "rcpt", "data", "dot", "other")
RECIPIENT_SOURCES: Final = ("cache", "callout", "list")
RECIPIENT_OUTCOMES: Final = ("known", "unknown", "unverifiable", "too-many-unknown", "temperror")
_POLICIES: Final = ("none", "quarantine", "reject")
NOT_APPLIED: Final = "not-applied"
_DISPOSITIONS: Final = (*_POLICIES, NOT_APPLIED)
_STORE: Final = ("store",)
"""The store's only role so far."""
_LISTENER: Final = "names of `listeners`"
_MAILSTORE: Final = "URLs of `routes`, without options"
_LIST: Final = "names of the policy's lists"
_CHECK: Final = "names of the checks"


def _counter(
    name: str, text: str, series: tuple[tuple[str, ...], ...] = (), /, **labels: tuple[str, ...] | str
) -> Metric:
    return Metric("counter", name, text, _plain(labels), series=series)


def _live(name: str, text: str, mode: str = "livesum", /, **labels: tuple[str, ...] | str) -> Metric:
    return Metric("gauge", name, text, _plain(labels), mode=mode)


def _node(name: str, text: str, /, **labels: tuple[str, ...] | str) -> Metric:
    return Metric("gauge", name, text, _plain(labels), mode="livemostrecent")


def _times(name: str, text: str, buckets: tuple[float, ...] = SECONDS, /, **labels: tuple[str, ...] | str) -> Metric:
    return Metric("histogram", name, text, _plain(labels), buckets=buckets)


def _plain(labels: Labels) -> Labels:
    # class is a word of Python
    return {name.removesuffix("_"): said for name, said in labels.items()}


def _replies() -> tuple[tuple[str, ...], ...]:
    # what is said without a reason may be of any class; what has one has its code
    free = [(verb, kind, "") for verb in (*VERBS, OTHER) for kind in CLASSES]
    told = [(verb, f"{row.code // 100}xx", reason) for reason, row in REPLIES.items() for verb in _said_to(reason)]
    folded = [("DATA", kind, "mailstore") for kind in ("4xx", "5xx")]
    return tuple(dict.fromkeys([*free, *told, *folded]))


def _said_to(reason: str) -> tuple[str, ...]:
    own = {"mail-ok": ("MAIL",), "rcpt-ok": ("RCPT",), "accepted": ("DATA",)}
    return own.get(reason) or ("CONNECT", "EHLO", "HELO", "MAIL", "RCPT", "DATA")


SESSIONS: Final = (
    _counter(
        "connections",
        "SMTP connections; pregreet: those accepted that talked before the greeting",
        listener=_LISTENER,
        family=FAMILIES,
        result=CONNECTED,
    ),
    _live("sessions_active", "Sessions now", listener=_LISTENER),
    _live("sessions_limit", "Sessions that the node serves at most, all listeners together", listener=_LISTENER),
    _times("session_duration_seconds", "Length of sessions, by how they ended", SESSION, ended=ENDED),
    _times("banner_delay_seconds", "From the connection to our greeting"),
    _counter(
        "smtp_replies",
        "Replies to commands; reason: a row of docs/replies.md, empty for the protocol's own",
        _replies(),
        verb=(*VERBS, OTHER),
        class_=CLASSES,
        reason=("", *REPLIES, "mailstore"),
    ),
    _counter(
        "transactions", "Transactions by what became of them", result=RESULTS, profile="names of the policy's profiles"
    ),
    _times(
        "phase_duration_seconds",
        "Time of a transaction's phases; read: its content, relay: the hand-over",
        phase=PHASES,
    ),
    Metric("histogram", "message_size_bytes", "Octets of contents", {}, OCTETS),
    _counter("tarpit_seconds", "Time for which clients were held"),
    _live("tarpitted_sessions", "Clients being held now"),
)
TLS: Final = (
    _counter(
        "tls_handshakes",
        "TLS handshakes, with clients (in) and mailstores (out); version: the best that was offered",
        side=("in", "out"),
        version=TLS_VERSIONS,
        result=HANDSHAKES,
    ),
    _times("tls_handshake_duration_seconds", "From our 220 to STARTTLS to the end of the handshake", side=("in",)),
    _counter("tls_handshake_failures", "Why handshakes failed", side=("in",), cause="words of docs/tls.md"),
    _node(
        "tls_certificate_not_after_timestamp_seconds",
        "When a certificate in force ends",
        name="its first name",
        key="ecdsa, rsa",
    ),
    _node(
        "tlsa_match",
        "1: a published TLSA record fits the certificate in force, 0: none does, NaN: none is published or known",
        host="our own names",
    ),
    _node(
        "mtasts_mismatch",
        "1: the MTA-STS policy that the node serves does not name this host",
        domain="domains of `routes`",
    ),
)
CHECKS: Final = (
    _counter("spf", "SPF results", result=OUTCOMES),
    _counter("dkim", "DKIM results", result=OUTCOMES),
    _counter(
        "dmarc",
        "DMARC results; policy: what the author domain asks for, disposition: what was done with the message",
        result=OUTCOMES,
        disposition=_DISPOSITIONS,
        policy=_POLICIES,
    ),
    _counter("arc", "ARC results", result=OUTCOMES),
    _counter("greylist", "Attempts by what greylisting did with them", outcome=STATES),
    _times("greylist_delay_seconds", "From first attempt to accepted one", tuple(float(end) for end in DELAYS)),
    _counter(
        "greylist_not_shared",
        "Keys first here and on another node, or nodes with another secret",
        cause=("first", "secret"),
    ),
    _counter("rbl_hits", "Clients that a list holds", list=_LIST),
    _node(
        "rbl_list_state",
        "1: the state of the list here, and why",
        list=_LIST,
        state=LIST_STATES,
        reason="words of docs/dnsbl.md",
    ),
    _node("rbl_resolver_fault", "1: the resolvers are unfit for lists", fault="words of docs/dnsbl.md"),
    _node("own_address_listed", "1: a list holds our own address", address="our own addresses", list=_LIST),
    _counter(
        "ratelimit", "Judgements of rate limits; rule: the limit that was nearest", rule=LIMITED, outcome=OUTCOMES
    ),
    _counter(
        "recipient_checks",
        "Whether recipients exist, and who said so",
        source=RECIPIENT_SOURCES,
        outcome=RECIPIENT_OUTCOMES,
    ),
    _counter("failopen", "Accepted though a check knew nothing", check=_CHECK, cause=WHYS),
    _counter("check_crashes", "Crashes inside a check", check=_CHECK),
)
PORTS: Final = (
    _counter(
        "dns_lookups",
        "Questions to the resolvers; protocol: SERVFAIL and what cannot be read",
        purpose=PURPOSES,
        result=DNS,
    ),
    _times("dns_lookup_duration_seconds", "Time of questions to the resolvers", purpose=PURPOSES),
    _counter("store_ops", "Calls of the shared store", role=_STORE, op=STORE_OPS, result=("ok", *WHYS)),
    _times("store_op_duration_seconds", "Time of calls of the shared store", role=_STORE, op=STORE_OPS),
    _live("store_breaker_open", "1: a worker waits for the store no more", "livemax", role=_STORE),
    _live("store_state", "Workers that see the shared store so", state=tuple(state.value for state in StoreState)),
    _counter("ledger", "Hand-overs by what the ledger knew", result=LEDGER),
    _counter("mailstore_attempts", "Hand-overs by their result", mailstore=_MAILSTORE, result=HANDED),
    _counter(
        "mailstore_replies",
        "Replies of the mailstores; dot: to the end of data",
        mailstore=_MAILSTORE,
        phase=SAID,
        class_=CLASSES,
    ),
    _times("mailstore_duration_seconds", "Time of hand-overs", mailstore=_MAILSTORE),
    _live("mailstore_up", "0: a worker's breaker for this mailstore is open", "livemin", mailstore=_MAILSTORE),
    _node(
        "mailstore_accepts_all",
        "1: it takes any recipient, so none can be verified",
        route="names of `routes`",
        mailstore=_MAILSTORE,
    ),
    _live("inflight_deliveries", "Hand-overs on the way: all the queue that a node has"),
    _node(
        "spool_messages", "Accepted messages that lie on the node: always 0, since 250 means that the mailstore has it"
    ),
    _node("spool_oldest_seconds", "Age of the oldest of them: always 0"),
)
NODE: Final = (
    _node("build_info", "Constant 1", version="this version", python="its Python"),
    _node(
        "policy_info",
        "1: the policy in force; generation 0: the node's own file",
        digest="eight digits",
        generation="its number",
    ),
    _node("cluster_policy_mismatch", "1: this node's policy is not the cluster's"),
    _node("cluster_verify_mismatch", "Recordings that nodes decide differently"),
    _node("cluster_verify_timestamp_seconds", "When this node last compared itself with the others"),
    _node(
        "reload_last_success",
        "Whether the last reload worked; config: its reading at the start",
        what=("policy", "tls", "config"),
    ),
    _counter("reloads", "Reloads by their result", what=("policy", "tls", "config"), result=("ok", "failed")),
    _counter(
        "reports",
        "DMARC and TLS reports that were read: this version reads none",
        kind=("dmarc", "tlsrpt"),
        outcome=("read", "refused"),
    ),
    _times("loop_lag_seconds", "How late the event loop was, once a second"),
    _counter("log_dropped", "Log lines that nobody read in time", sink=("stdout",)),
    _counter("worker_crashes", "Workers that ended unasked"),
    _counter("worker_counts_failed", "Ended workers whose files here could not be added up; the log says why"),
)
AREAS: Final = {
    "Sessions and replies": SESSIONS,
    "TLS": TLS,
    "Checks": CHECKS,
    "DNS, store, mailstores": PORTS,
    "The node": NODE,
}
ALL: Final = {metric.name: metric for area in AREAS.values() for metric in area}
"""By name without prefix and ``_total``."""
