"""The admin port: /healthz, /readyz, /metrics, /statusz and one page. GET and HEAD, nothing that changes anything.

A minimal HTTP/1.1 server (RFC 9112): one request a connection, 8 KiB of header, 5 seconds, 64 connections at once.

Known gaps: no TLS and no password, so it belongs on an address that strangers cannot reach.
"""

from __future__ import annotations

import asyncio
import html
import json
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

log = logging.getLogger("mxgw.admin")

HEADER_OCTETS: Final = 8192
SECONDS: Final = 5.0
CONNECTIONS: Final = 64


@dataclass(frozen=True, slots=True)
class Page:
    """One answer: status, media type, text."""

    status: HTTPStatus
    kind: str
    body: bytes

    @classmethod
    def text(cls, status: HTTPStatus, body: str) -> Page:
        """Plain text with a line end."""
        return cls(status, "text/plain; charset=utf-8", f"{body}\n".encode())


Show = Callable[[], Awaitable[Page]]


class AdminServer:
    """Serves the pages of ``shows``: path -> what makes the answer."""

    def __init__(self, shows: Mapping[str, Show]) -> None:
        self._shows = shows
        self._open = 0
        self._server: asyncio.Server | None = None

    async def start(self, sock: socket.socket) -> None:
        """Serve on this listening socket."""
        self._server = await asyncio.start_server(self._serve, sock=sock, limit=HEADER_OCTETS)

    async def close(self) -> None:
        """Stop listening."""
        if self._server:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            async with asyncio.timeout(SECONDS):
                page, head = await self._answer(reader)
                writer.write(_encoded(page, head))
                await writer.drain()
        except (TimeoutError, OSError) as error:
            log.debug("admin connection ended: %r", error)
        finally:
            self._open -= 1
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> tuple[Page, bool]:
        if self._open > CONNECTIONS:
            return Page.text(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections"), False
        try:
            header = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return Page.text(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the header is too large"), False
        except asyncio.IncompleteReadError:
            return Page.text(HTTPStatus.BAD_REQUEST, "the request is incomplete"), False
        words = header.split(b"\r\n", 1)[0].split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return Page.text(HTTPStatus.BAD_REQUEST, "this is not HTTP/1.1"), False
        method, path = words[0], words[1].split(b"?", 1)[0].decode("latin-1")
        if method not in (b"GET", b"HEAD"):
            return Page.text(HTTPStatus.METHOD_NOT_ALLOWED, "GET and HEAD only"), False
        show = self._shows.get(path)
        if show is None:
            return Page.text(HTTPStatus.NOT_FOUND, f"there are {' '.join(self._shows)}"), method == b"HEAD"
        return await show(), method == b"HEAD"


def _encoded(page: Page, head: bool) -> bytes:
    lines = [
        f"HTTP/1.1 {page.status.value} {page.status.phrase}",
        f"Content-Type: {page.kind}",
        f"Content-Length: {len(page.body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'",
        *(["Allow: GET, HEAD"] if page.status is HTTPStatus.METHOD_NOT_ALLOWED else []),
        "Connection: close",
    ]
    return "".join(line + "\r\n" for line in lines).encode() + b"\r\n" + (b"" if head else page.body)


def json_page(data: Mapping[str, Any]) -> Page:
    """JSON with two blanks of indent: people read it too."""
    return Page(HTTPStatus.OK, "application/json", (json.dumps(data, indent=2) + "\n").encode())


def status_page(status: Mapping[str, Any]) -> Page:
    """The same data as one page of HTML without scripts."""
    rows = "".join(
        f"<tr><th>{html.escape(str(key))}</th><td><pre>{html.escape(_shown(value))}</pre></td></tr>"
        for key, value in status.items()
    )
    body = (
        "<!doctype html><html lang=en><meta charset=utf-8><title>mxgw</title>"
        "<style>body{font:15px sans-serif;margin:2em}th{text-align:left;vertical-align:top;padding-right:2em}"
        "pre{margin:0}</style>"
        f"<h1>mxgw {html.escape(str(status.get('hostname', '')))}</h1><table>{rows}</table>"
        "<p><a href=/metrics>metrics</a> <a href=/statusz>JSON</a></p></html>\n"
    )
    return Page(HTTPStatus.OK, "text/html; charset=utf-8", body.encode())


def _shown(value: object) -> str:
    return json.dumps(value, indent=1) if isinstance(value, dict | list) else str(value)
