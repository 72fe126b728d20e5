"""XCLIENT: tell the mailstore who the client was (an extension of Postfix, also spoken by Dovecot's LMTP).

In: a transaction and the attributes which the mailstore lists in its EHLO reply. Out: command lines of at most 512
octets, ADDR in the last. Values are xtext (RFC 3461 section 4).

Known gaps: LOGIN is never sent: mail from outside is never authenticated.
"""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import IPv4Address, IPv6Address

from gateway.mail import limits
from gateway.mail.finding import Outcome
from gateway.mail.transaction import Transaction

Attributes = tuple[tuple[str, str], ...]
_UNAVAILABLE = "[UNAVAILABLE]"
_TEMPUNAVAIL = "[TEMPUNAVAIL]"
_ORDER = ("NAME", "HELO", "PROTO", "DESTADDR", "DESTPORT", "PORT", "ADDR")
_VALUE_OCTETS = 400


def attributes(tx: Transaction) -> Attributes:
    """What is known of the client, unencoded. Unknown ones are given as unavailable: on a pooled connection the
    client before would otherwise lend them."""
    connection = tx.connection
    known = connection.client_known
    iprev = tx.findings.get("iprev")
    name = str(iprev.evidence.get("name", "")) if iprev and iprev.outcome is Outcome.PASS else ""
    if iprev and iprev.outcome is Outcome.TEMPERROR:
        name = _TEMPUNAVAIL  # the mailstore may then defer what it would refuse for a client without a name
    facts = {
        "NAME": name if known else "",
        "HELO": tx.hello.name if tx.hello else "",
        "PROTO": "ESMTP" if tx.hello and tx.hello.verb.upper() == "EHLO" else "SMTP",
        "DESTADDR": _address(connection.local_ip),
        "DESTPORT": str(connection.local_port),
        "PORT": str(connection.client_port) if known and connection.client_port else "",
        "ADDR": _address(connection.client_ip) if known else "",
    }
    return tuple((key, facts[key]) for key in _ORDER)


def commands(facts: Attributes, listed: Collection[str]) -> list[bytes]:
    """The XCLIENT lines with CRLF; [] when the mailstore lists none of the attributes."""
    lines: list[str] = []
    line = ""
    for key, value in facts:
        if key not in listed:
            continue
        encoded = xtext(value)
        word = f" {key}={encoded if encoded and len(encoded) <= _VALUE_OCTETS else _UNAVAILABLE}"
        if line and len("XCLIENT") + len(line) + len(word) + 2 > limits.REPLY_LINE_OCTETS:
            lines.append(line)
            line = ""
        line += word
    if line:
        lines.append(line)
    return [f"XCLIENT{each}\r\n".encode("ascii") for each in lines]


def xtext(value: str) -> str:
    """RFC 3461 section 4: printable ASCII as it is, everything else, ``+`` and ``=`` as +XX."""
    octets = value.encode("utf-8", "surrogateescape")
    return "".join(chr(o) if 0x21 <= o <= 0x7E and o not in b"+=" else f"+{o:02X}" for o in octets)


def _address(address: IPv4Address | IPv6Address | None) -> str:
    if address is None:
        return ""
    return f"IPV6:{address}" if address.version == 6 else str(address)
