"""Who may see the page: a token or a certificate where the settings ask for one; never by address alone.

Without either the page is for this machine, and then the Host field must name it: another site's name that was made to
point here (DNS rebinding) gets nothing.

Known gaps: wrong tokens are slowed down, not counted.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import logging
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import ip_address
from typing import Final

from gateway.ops.admin import Page, Request

log = logging.getLogger("mxgw.admin")

WRONG_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Access:
    """token: '' where none is asked for. certificates: whether a client's is enough. names: of this host."""

    token: str = ""
    certificates: bool = False
    names: frozenset[str] = frozenset({"localhost"})

    async def guard(self, request: Request) -> Page | None:
        """None: come in."""
        if self.certificates and request.certificate:
            return None
        if self.token:
            said = _token_in(request.headers.get("authorization", ""))
            if said is not None and hmac.compare_digest(said.encode("utf-8", "replace"), self.token.encode()):
                return None
            if said is not None:
                log.warning("wrong token for the page, from %s", request.peer, extra={"event": "admin"})
                await asyncio.sleep(WRONG_SECONDS)
            return Page(
                HTTPStatus.UNAUTHORIZED,
                "text/plain; charset=utf-8",
                b"the page needs the token of admin.token_file\n",
                {"WWW-Authenticate": 'Basic realm="mxgw", charset="UTF-8"'},
            )
        if self.certificates:
            return Page.text(HTTPStatus.FORBIDDEN, "the page needs a client certificate")
        host = request.headers.get("host", "")
        if host.partition(":")[0].lower() not in self.names and not _is_address(host):
            return Page.text(HTTPStatus.MISDIRECTED_REQUEST, "this host has another name")
        return None


def _token_in(field: str) -> str | None:
    """The token of an Authorization field, Bearer or Basic; None: there is none."""
    kind, _, said = field.partition(" ")
    if kind.lower() == "bearer":
        return said.strip()
    if kind.lower() != "basic":
        return None
    try:
        return base64.b64decode(said, validate=True).decode("utf-8").partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _is_address(field: str) -> bool:
    host = field[1:].partition("]")[0] if field.startswith("[") else field.partition(":")[0]
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
