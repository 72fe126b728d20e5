"""The page's views: what the cluster's board and this node know, as HTML. Nothing here changes mail or policy.

While somebody looks at live verdicts the nodes write theirs each second (``cluster.watching``).

Known gaps: the domains' DNS is not asked here; ``mxgw check-domain`` does that.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from gateway.cluster.blocks import listed
from gateway.cluster.drift import drifts
from gateway.cluster.journal import Found, decisions
from gateway.cluster.list_watch import cluster_states
from gateway.cluster.membership import lost, members
from gateway.cluster.recalling import policy_of
from gateway.cluster.rollout_board import state_of
from gateway.cluster.sealed import Seal
from gateway.cluster.watching import Watch, renew
from gateway.config import Settings
from gateway.evidence.recall import recall
from gateway.evidence.recorded import seconds_of
from gateway.evidence.told import facts_of, findings_of, recipients_of, rules_of
from gateway.evidence.tracking import RESULTS, VERDICTS, Query, plain_id, recipients, row
from gateway.ops.admin import Page, Request, View
from gateway.policy.model import Policy
from gateway.ports.board import Board
from gateway.ports.failure import PortFailure
from gateway.web.markup import Child, Markup, document, joined, mark, pairs, table, tag

ROWS: Final = 200
_LIVE_ROWS: Final = 40
_LIVE_SECONDS: Final = 900.0
_MENU: Final = (
    *(("/", "Cluster"), ("/live", "Live"), ("/search", "Search"), ("/lists", "Lists"), ("/domains", "Domains")),
)
_SPANS: Final = {"1h": 3600.0, "24h": 86400.0, "7d": 7 * 86400.0, "30d": 30 * 86400.0}
_STATIC: Final = Path(__file__).parent / "static"
_KINDS: Final = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}

Record = Mapping[str, Any]


class Site:
    """settings, board and seal of the decision journal; status: this node's /statusz; policy: the one in force."""

    def __init__(
        self,
        settings: Settings,
        board: Board,
        seal: Seal,
        status: Callable[[], Mapping[str, Any]],
        policy: Callable[[], Policy],
    ) -> None:
        self._settings = settings
        self._board = board
        self._seal = seal
        self._status = status
        self._policy = policy
        self._static = {file.name: file.read_bytes() for file in sorted(_STATIC.iterdir()) if file.suffix in _KINDS}

    @property
    def views(self) -> dict[str, View]:
        """Path -> view."""
        found: dict[str, View] = {f"/static/{name}": self._asset(name) for name in self._static}
        pages: dict[str, tuple[str, Callable[[Request], Awaitable[list[Child]]], int]] = {
            "/": ("Cluster", self._cluster, 3),
            "/live": ("Live", self._live, 2),
            "/search": ("Search", self._search, 0),
            "/message": ("Message", self._message, 0),
            "/lists": ("Lists", self._lists, 5),
            "/domains": ("Domains", self._domains, 5),
        }
        return {**{path: self._view(path, *page) for path, page in pages.items()}, **found}

    def _view(
        self, path: str, title: str, body: Callable[[Request], Awaitable[list[Child]]], refresh: int
    ) -> View:
        async def view(request: Request) -> Page:
            try:
                made, status = await body(request), HTTPStatus.OK
            except PortFailure as failure:
                told = tag("p", f"The shared store does not answer: {failure}", class_="alarm")
                made, status = [tag("h1", title), told], HTTPStatus.SERVICE_UNAVAILABLE
            octets = document(f"{title} {self._settings.node}", path, _MENU, made, refresh)
            return Page(status, "text/html; charset=utf-8", octets)

        return view

    def _asset(self, name: str) -> View:
        async def asset(_request: Request) -> Page:
            return Page(HTTPStatus.OK, _KINDS[Path(name).suffix], self._static[name])

        return asset

    # ---- the cluster

    async def _cluster(self, _request: Request) -> list[Child]:
        status = self._status()
        body: list[Child] = [tag("h1", f"mxgw {self._settings.node}"), *_node(status)]
        nodes, gone = await members(self._board), await lost(self._board)
        state, now = await state_of(self._board), await self._board.now()
        drift = drifts(nodes, state.current, now)
        body.append(tag("h2", "Nodes"))
        body += [tag("p", line, class_="alarm") for line in drift] or [tag("p", "All nodes are alike.")]
        rows: list[Sequence[Child]] = [_node_row(name, said) for name, said in nodes.items()]
        rows += [(name, "-", "-", mark("lost", "bad"), *("-",) * 5) for name in gone]
        rates = ("Accepted/min", "Deferred/min", "Rejected/min")
        body.append(table(("Node", "Version", "Policy", "State", "Sessions", *rates, "Store"), rows))
        if state.current.number:
            body.append(tag("p", f"Policy {state.current.label}, by {state.current.by or '-'}: {state.current.reason}"))
        if state.rollout:
            body.append(tag("p", f"Roll-out {state.rollout.target.label}: {state.rollout.phase}", class_="alarm"))
        body.append(tag("h2", "Mailstores"))
        body.append(table(("Node", "Mailstore", "State", "Sessions", "Waiting", "Detail"), _breakers(nodes)))
        body.append(tag("h2", "Certificates"))
        body.append(table(("Node", "Names", "Kind", "Ends", "SHA-256"), _certificates(nodes, now)))
        return body

    # ---- verdicts

    async def _live(self, _request: Request) -> list[Child]:
        await renew(self._board, Watch(f"page-{self._settings.node}"))
        since = await self._board.now() - _LIVE_SECONDS
        found = await decisions(self._board, self._seal, since, _LIVE_ROWS * 4)
        return [
            tag("h1", "Live"),
            tag("p", "The newest decisions of all nodes within a quarter of an hour."),
            *_results(found, _LIVE_ROWS),
        ]

    async def _search(self, request: Request) -> list[Child]:
        asked = {key: request.query.get(key, "").strip() for key in ("from", "to", "ip", "msgid", "id", "verdict")}
        since = request.query.get("since", "24h")
        body: list[Child] = [tag("h1", "Search"), _form(asked, since)]
        if not any(asked.values()) and "since" not in request.query:
            return body
        try:
            query = Query.of(asked["from"], asked["to"], asked["ip"], asked["msgid"], asked["id"], asked["verdict"])
            after = await self._board.now() - _SPANS[since]
        except ValueError as error:
            return [*body, tag("p", str(error), class_="alarm")]
        except KeyError:
            return [*body, tag("p", "since: 1h, 24h, 7d or 30d", class_="alarm")]
        await renew(self._board, Watch(f"page-{self._settings.node}"))

        def wanted(record: Record) -> bool:
            return query.finds(record) and seconds_of(str(record["time"])) >= after

        return [*body, *_results(await decisions(self._board, self._seal, after, ROWS, wanted), ROWS)]

    async def _message(self, request: Request) -> list[Child]:
        ident = plain_id(request.query.get("id", ""))
        body: list[Child] = [tag("h1", f"Message {ident}")]
        found: Sequence[Record] = ()
        if ident:
            found = (await decisions(self._board, self._seal, 0.0, 50, Query(id=ident).finds)).records
        records = [record for record in found if record.get("qid") == ident] or list(found)
        if not records:
            return [*body, tag("p", "There is no such decision on the board. Older ones are in the nodes' logs.")]
        for record in reversed(records):
            policy = await policy_of(self._board, record, self._policy())
            body += _explained(record, recall(record, policy).lines)
        return body

    # ---- lists and domains

    async def _lists(self, _request: Request) -> list[Child]:
        rows: list[Sequence[Child]] = []
        for name, health in (await cluster_states(self._board)).items():
            times = _when(health.since), _when(health.at)
            rows.append((name, mark(health.state), health.reason or "-", *times, health.by))
        blocks = [
            (block.what, _when(block.until), block.by, block.reason, _when(block.since))
            for block in await listed(self._board)
        ]
        return [
            tag("h1", "Lists"),
            tag("h2", "Block and allow lists"),
            table(("List", "State", "Why", "Since", "Looked at", "By"), rows, "No list is watched."),
            tag("h2", "Emergency blocks"),
            table(("What", "Until", "By", "Reason", "Since"), blocks, "Nothing is blocked."),
        ]

    async def _domains(self, _request: Request) -> list[Child]:
        policy, status = self._policy(), self._status()
        stores: Mapping[str, Mapping[str, Any]] = status.get("mailstores", {})
        found = await decisions(self._board, self._seal, await self._board.now() - 3600, 2000)
        counted: dict[str, dict[str, int]] = {}
        for record in found.records:
            for domain in {address.rpartition("@")[2].lower() for address in recipients(record)}:
                of = counted.setdefault(domain, {})
                of[str(record.get("result"))] = of.get(str(record.get("result")), 0) + 1
        rows: list[Sequence[Child]] = []
        for route in status.get("routes", ()):
            for domain in route["domains"]:
                seen = [name for name in stores if any(name in str(url) for url in route["mailstore"])]
                up = joined(mark("up" if stores[name]["up"] else "down") for name in seen) if seen else "-"
                said = counted.get(domain, {})
                profile = "-" if domain.startswith("*") else policy.for_domain(domain).name
                results = " ".join(f"{result} {count}" for result, count in sorted(said.items())) or "-"
                rows.append((domain, route["name"], ", ".join(map(str, route["mailstore"])), up, profile, results))
        return [
            tag("h1", "Domains"),
            tag("p", "Ours, by this node's settings; what DNS says of them: mxgw check-domain."),
            table(("Domain", "Route", "Mailstore", "State", "Policy profile", "Last hour"), rows),
        ]


def _node(status: Mapping[str, Any]) -> list[Child]:
    policy = status["policy"]
    ready = mark("serving" if status["ready"] else str(status["state"]), "good" if status["ready"] else "bad")
    body: list[Child] = [
        pairs(
            [
                ("State", joined([ready, f" {status['state']}"])),
                ("Version", str(status["version"])),
                ("Policy", f"{policy['digest'][:8]} generation {policy['generation']} {status['mode']}"),
                ("Sessions", f"{status['sessions']}, {status['inflight']} hand-overs"),
                ("Shared store", mark(str(status["store"]), "good" if status["store"] == "ok" else "bad")),
                ("Up since", _when(status["started"])),
            ]
        )
    ]
    return body + ([tag("p", status["policy_mismatch"], class_="alarm")] if status["policy_mismatch"] else [])


def _node_row(name: str, said: Mapping[str, Any]) -> Sequence[Child]:
    state = "serving" if said["ready"] else "draining" if said.get("draining") else str(said["state"])
    rates = said.get("per_minute", {})
    return (
        name,
        str(said["version"]),
        f"{str(said['policy'])[:8]} ({said.get('generation', 0)})",
        mark(state),
        str(said["sessions"]),
        *(str(rates.get(key, "-")) for key in ("acc", "def", "rej")),
        mark(str(said.get("store", "-"))),
    )


def _breakers(nodes: Mapping[str, Mapping[str, Any]]) -> list[Sequence[Child]]:
    return [
        (
            name,
            mailstore,
            mark("up" if seen.get("up", True) else "down"),
            str(seen.get("sessions", "-")),
            str(seen.get("waiting", "-")),
            str(seen.get("detail", "")) or "-",
        )
        for name, said in nodes.items()
        for mailstore, seen in said.get("mailstores", {}).items()
    ]


def _certificates(nodes: Mapping[str, Mapping[str, Any]], now: float) -> list[Sequence[Child]]:
    rows: list[Sequence[Child]] = []
    for name, said in nodes.items():
        for one in said.get("certificates", ()):
            days = (one["not_after"] - now) / 86400
            kind = "good" if days > 14 else "odd" if days > 0 else "bad"
            ends = joined([mark(f"{days:.0f} days", kind), f" {_when(one['not_after'])}"])
            rows.append((name, " ".join(one["names"]), str(one["kind"]), ends, str(one["sha256"])[:16]))
    return rows


def _form(asked: Mapping[str, str], since: str) -> Markup:
    labels = {"from": "From", "to": "To", "ip": "Client", "msgid": "Message-ID", "id": "Id in the bounce"}
    fields = [
        tag("label", label, tag("input", name=key, value=asked[key], autocomplete="off", spellcheck="false"))
        for key, label in labels.items()
    ]
    words = [
        tag("option", word or "any", value=word, selected=word == asked["verdict"])
        for word in ("", *RESULTS, *VERDICTS)
    ]
    spans = [tag("option", word, value=word, selected=word == since) for word in _SPANS]
    fields += [
        tag("label", "Result", tag("select", *words, name="verdict")),
        tag("label", "Since", tag("select", *spans, name="since")),
        tag("button", "Search", type="submit"),
    ]
    return tag("form", *fields, action="/search", method="get")


def _results(found: Found, most: int) -> list[Child]:
    records = sorted(found.records, key=lambda record: str(record.get("time", "")), reverse=True)[:most]
    rows: list[Sequence[Child]] = []
    for record in records:
        at, ident, node, client, path, to, result, reason = row(record)
        link = tag("a", ident, href="/message?" + urlencode({"id": ident}))
        rows.append((at, link, node, client, str(record.get("helo", "")), path, to, mark(result), reason))
    heads = ("Time (UTC)", "Id", "Node", "Client", "Hello", "From", "To", "Result", "Reason")
    body: list[Child] = [table(heads, rows, "Nothing is found.")]
    if found.missed:
        body.append(tag("p", f"{found.missed} decisions are in the nodes' logs only.", class_="alarm"))
    if found.strangers:
        names = ", ".join(sorted(found.strangers))
        body.append(tag("p", f"Not readable with this node's secret: the lines of {names}.", class_="alarm"))
    return body


def _explained(record: Record, changes: Sequence[str]) -> list[Child]:
    verdict = joined([mark(str(record.get("verdict", ""))), f" {record.get('reason', '')}"])
    return [
        pairs([("verdict", verdict), *facts_of(record)]),
        tag("h2", "Recipients"),
        table(("Address", "Reply", "Mailstore"), [(o.address, o.reply, o.mailstore) for o in recipients_of(record)]),
        tag("h2", "Found"),
        table(("Check", "Outcome", "Time", "Evidence"), findings_of(record)),
        tag("h2", "Rules"),
        tag("ul", *(tag("li", line) for line in rules_of(record) or ["no rule hits"])),
        tag("h2", "What would have changed it"),
        tag("ul", *(tag("li", line) for line in changes)),
    ]


def _when(seconds: float) -> str:
    if not seconds or seconds > 4e9 or seconds > time.time() + 1e9:
        return "-"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
