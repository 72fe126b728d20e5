"""The admin port put together: what is open to probes and Prometheus, and the page behind its guard.

Known gaps: none.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from typing import Any

from gateway.cluster.journal import seal_of
from gateway.config import Settings
from gateway.config.admin_section import read_token, tls_context
from gateway.ops.admin import AdminServer, Page, Request, Show, View, json_page
from gateway.policy.model import Policy
from gateway.ports.board import Board
from gateway.web.access import Access
from gateway.web.site import Site

Status = Callable[[], Mapping[str, Any]]


def admin_port(
    settings: Settings, shows: Mapping[str, Show], board: Board, status: Status, policy: Callable[[], Policy]
) -> tuple[AdminServer, ssl.SSLContext | None]:
    """The server, and its TLS. shows: open to all. status: /statusz, which is behind the guard where there is one.
    Raises ValueError."""
    admin = settings.admin
    tls = tls_context(admin.certificate, admin.key, admin.client_ca) if admin.certificate and admin.key else None

    async def statusz() -> Page:
        return json_page(status())

    async def statusz_view(_request: Request) -> Page:
        return json_page(status())

    if not admin.serves_page:
        return AdminServer({**shows, "/statusz": statusz}), tls
    site = Site(settings, board, seal_of(settings.shared_secret), status, policy)
    access = Access(
        read_token(admin.token_file) if admin.token_file else "",
        admin.client_ca is not None,
        frozenset({"localhost", settings.hostname.lower()}),
    )
    if not admin.guarded:
        return AdminServer({**shows, "/statusz": statusz}, site.views, access.guard), tls
    views: dict[str, View] = {"/statusz": statusz_view, **site.views}
    return AdminServer(shows, views, access.guard), tls
