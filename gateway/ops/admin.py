"""The admin port: /healthz, /readyz, /metrics, /statusz and the page. GET and HEAD, nothing that changes anything.

A minimal HTTP/1.1 server (RFC 9112): one request a connection, 8 KiB of header, 10 seconds, 64 connections at once.

Known gaps: none.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl

log = logging.getLogger("mxgw.admin")

HEADER_OCTETS: Final = 8192
SECONDS: Final = 10.0
CONNECTIONS: Final = 64
_FIELDS: Final = 50
_CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked. query: of several values of one name the last. headers: names in lower case. certificate: the
    client showed one that our CA has signed. peer: its address."""

    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    certificate: bool = False
    peer: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """One answer: status, media type, text, more header fields."""

    status: HTTPStatus
    kind: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def text(cls, status: HTTPStatus, body: str) -> Page:
        """Plain text with a line end."""
        return cls(status, "text/plain; charset=utf-8", f"{body}\n".encode())


Show = Callable[[], Awaitable[Page]]
View = Callable[[Request], Awaitable[Page]]
Guard = Callable[[Request], Awaitable[Page | None]]


async def no_guard(_request: Request) -> Page | None:
    """Everybody may."""
    return None


class AdminServer:
    """Serves the pages of ``shows`` to everybody: path -> what makes the answer; and ``views`` to those whom ``guard``
    gives no other answer."""

    def __init__(
        self,
        shows: Mapping[str, Show],
        views: Mapping[str, View] | None = None,
        guard: Guard = no_guard,
    ) -> None:
        self._shows = shows
        self._views = views or {}
        self._guard = guard
        self._open = 0
        self._server: asyncio.Server | None = None

    async def start(self, sock: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Serve on this listening socket."""
        self._server = await asyncio.start_server(self._serve, sock=sock, limit=HEADER_OCTETS, ssl=tls)

    async def close(self) -> None:
        """Stop listening."""
        if self._server:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            async with asyncio.timeout(SECONDS):
                page, head = await self._answer(reader, writer)
                writer.write(_encoded(page, head))
                await writer.drain()
        except (TimeoutError, OSError) as error:
            log.debug("admin connection ended: %r", error)
        finally:
            self._open -= 1
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[Page, bool]:
        if self._open > CONNECTIONS:
            return Page.text(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections"), False
        try:
            header = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return Page.text(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the header is too large"), False
        except asyncio.IncompleteReadError:
            return Page.text(HTTPStatus.BAD_REQUEST, "the request is incomplete"), False
        first, *fields = header.decode("latin-1").split("\r\n")
        words = first.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return Page.text(HTTPStatus.BAD_REQUEST, "this is not HTTP/1.1"), False
        if words[0] not in ("GET", "HEAD"):
            return Page.text(HTTPStatus.METHOD_NOT_ALLOWED, "GET and HEAD only"), False
        head = words[0] == "HEAD"
        path, _, query = words[1].partition("?")
        if (show := self._shows.get(path)) is not None:
            return await show(), head
        view = self._views.get(path)
        if view is None:
            return Page.text(HTTPStatus.NOT_FOUND, f"there are {' '.join((*self._shows, *self._views))}"), head
        try:
            values = dict(parse_qsl(query, max_num_fields=_FIELDS))
        except ValueError:
            return Page.text(HTTPStatus.BAD_REQUEST, "too many fields"), head
        named = (line.partition(":") for line in fields if ":" in line)
        headers = {name.strip().lower(): value.strip() for name, _, value in named}
        peer = writer.get_extra_info("peername")
        certificate = bool(writer.get_extra_info("peercert"))
        request = Request(path, values, headers, certificate, str(peer[0]) if peer else "")
        return await self._guard(request) or await view(request), head


def _encoded(page: Page, head: bool) -> bytes:
    lines = [
        f"HTTP/1.1 {page.status.value} {page.status.phrase}",
        f"Content-Type: {page.kind}",
        f"Content-Length: {len(page.body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        f"Content-Security-Policy: {_CSP}",
        "Referrer-Policy: no-referrer",
        "X-Frame-Options: DENY",
        "Cross-Origin-Opener-Policy: same-origin",
        "Cross-Origin-Resource-Policy: same-origin",
        *(f"{name}: {value}" for name, value in page.headers.items()),
        *(["Allow: GET, HEAD"] if page.status is HTTPStatus.METHOD_NOT_ALLOWED else []),
        "Connection: close",
    ]
    return "".join(line + "\r\n" for line in lines).encode() + b"\r\n" + (b"" if head else page.body)


def json_page(data: Mapping[str, Any]) -> Page:
    """JSON with two blanks of indent: people read it too."""
    return Page(HTTPStatus.OK, "application/json", (json.dumps(data, indent=2) + "\n").encode())
