"""The MTA-STS policy file, served by the node in plain HTTP behind an ingress that has the certificates (RFC 8461).

On a listener of its own, which knows nothing but this path, or on the admin port.

Known gaps: HTTPS is the ingress's; the same file is served whatever the Host field says.
"""

from __future__ import annotations

import socket
from http import HTTPStatus

from gateway.config import Settings
from gateway.ops.admin import AdminServer, Page, Show
from gateway.outside.mta_sts import PATH
from gateway.outside.records import sts_policy
from gateway.smtp.listener import make_listening_socket


class PolicyHost:
    """Binds its listener when made, where the settings name one. Raises OSError."""

    def __init__(self, settings: Settings) -> None:
        policy = sts_policy(settings)
        self._body = policy.text.encode() if policy else b""
        place = settings.mta_sts.place if settings.mta_sts else None
        self._sock: socket.socket | None = None
        if place is not None:
            try:
                self._sock = make_listening_socket(*place)
            except OSError as error:
                text = f"cannot listen on {place[0]} port {place[1]}: {error.strerror}"
                raise OSError(error.errno, text) from error
        self._server: AdminServer | None = None

    @property
    def place(self) -> str:
        """Address and port of its listener, '' without one."""
        return "{}:{}".format(*self._sock.getsockname()[:2]) if self._sock else ""

    @property
    def admin_shows(self) -> dict[str, Show]:
        """What the admin port serves of it: nothing where there is a listener, or no policy."""
        return {PATH: self._page} if self._body and self._sock is None else {}

    async def start(self) -> None:
        """Serve on the listener, if there is one."""
        if self._sock is not None:
            self._server = AdminServer({PATH: self._page})
            await self._server.start(self._sock)

    async def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            await self._server.close()

    async def _page(self) -> Page:
        return Page(HTTPStatus.OK, "text/plain; charset=utf-8", self._body)
