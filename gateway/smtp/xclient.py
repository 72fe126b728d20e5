"""XCLIENT from a listed host: it tells who its client is, and the session starts over with 220 (XCLIENT_README).

The extension is offered only to listed hosts; another's XCLIENT is a command that is not offered. Values are xtext (RFC
3461 section 4). What a later EHLO says is the host's own name then: the client's is the one of the HELO attribute, and
its protocol that of PROTO. The host itself never waits for a greeting and is under no limit of a client's sessions.

Known gaps: the rate check counts the host's own connections; clients told by XCLIENT are under no limit of sessions;
NAME is not believed, the iprev check finds it out; LOGIN is refused, there is no authentication here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Final

from gateway.mail.transaction import Address, Connection

OFFERED: Final = "XCLIENT NAME ADDR PORT PROTO HELO DESTADDR DESTPORT"
_KNOWN: Final = frozenset(OFFERED.split()[1:])
_ABSENT: Final = frozenset({"[UNAVAILABLE]", "[TEMPUNAVAIL]"})
_ENCODED: Final = re.compile(r"\+([0-9A-F]{2})")
_HELLO: Final = re.compile(r"[\x21-\x7e\u00a1-\U0010ffff]{1,255}")


class XclientError(ValueError):
    """The attributes are wrong; the text is safe to say."""


class StartOver(Exception):
    """The session begins again, as this client."""

    def __init__(self, told: Told) -> None:
        self.told = told
        super().__init__("XCLIENT")


@dataclass(frozen=True, slots=True)
class Told:
    """What the host has told so far: the client's connection, and its hello (verb and name) or ''."""

    connection: Connection
    verb: str = ""
    hello: str = ""

    def restarted(self, session_id: str) -> Told:
        """The same for the session that begins now."""
        return replace(self, connection=replace(self.connection, session_id=session_id))


def take(argument: str, before: Told) -> Told:
    """Apply one XCLIENT command. Several may follow each other, and add up. Raises XclientError."""
    connection, verb, hello = before.connection, before.verb, before.hello
    words = argument.split()
    if not words:
        raise XclientError("XCLIENT needs attributes")
    for word in words:
        name, equals, value = word.partition("=")
        name = name.upper()
        if not equals or name not in _KNOWN:
            raise XclientError("unknown XCLIENT attribute")
        text = None if value.upper() in _ABSENT else _xtext(value)
        if name == "ADDR":
            address = _address(text) if text is not None else None
            known = address is not None
            connection = replace(
                connection, client_ip=address or connection.client_ip, client_known=known, external_relay=None
            )
        elif name == "PORT":
            connection = replace(connection, client_port=_port(text))
        elif name == "DESTADDR":
            connection = replace(connection, local_ip=_address(text) if text is not None else connection.local_ip)
        elif name == "DESTPORT":
            connection = replace(connection, local_port=_port(text) or connection.local_port)
        elif name == "PROTO":
            if text is not None and text.upper() not in ("SMTP", "ESMTP"):
                raise XclientError("PROTO is SMTP or ESMTP")
            verb = "" if text is None else "HELO" if text.upper() == "SMTP" else "EHLO"
        elif name == "HELO":
            if text is not None and not _HELLO.fullmatch(text):
                raise XclientError("bad HELO value")
            hello = text or ""
    return Told(connection, verb, hello)


def _xtext(value: str) -> str:
    if "+" in _ENCODED.sub("", value):
        raise XclientError("value is no xtext")
    octets = _ENCODED.sub(lambda found: chr(int(found[1], 16)), value)
    try:
        return octets.encode("latin-1").decode("utf-8")
    except UnicodeError as error:
        raise XclientError("value is not UTF-8") from error


def _address(text: str) -> Address:
    # IPv6 stands with a prefix there, as in an address literal
    bare = text[5:] if text[:5].upper() == "IPV6:" else text
    try:
        return ip_address(bare)
    except ValueError as error:
        raise XclientError("ADDR is no IP address") from error


def _port(text: str | None) -> int:
    if text is None:
        return 0
    if not text.isascii() or not text.isdigit() or len(text) > 5 or int(text) > 65535:
        raise XclientError("bad port")
    return int(text)
