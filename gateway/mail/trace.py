"""The trace fields that we prepend: Received (RFC 5321 section 4.4) and Received-SPF (RFC 7208 section 9.1).

What a stranger said stands in them only after it was cut down to characters that cannot end a line, a comment or a
quoted string. Lines are folded at 78 octets where the words allow it and never reach 998.

Known gaps: no STARTTLS certificate of the client is noted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from ipaddress import IPv6Address

from gateway.mail.address import NULL, parse_literal
from gateway.mail.finding import Outcome
from gateway.mail.transaction import Address, Transaction

FOLD_AT = 78
_HOST_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")
_QUOTE_UNSAFE = re.compile(r"[^\x20-\x7e]")
_QUOTE_UNSAFE_UTF8 = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")
_DOT_ATOM = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")
_TEXT_LENGTH = 330
_SPF_COMMENTS = {
    Outcome.PASS: "the domain designates the client as permitted",
    Outcome.FAIL: "the domain does not designate the client as permitted",
    Outcome.SOFTFAIL: "the domain discourages use of the client",
    Outcome.NEUTRAL: "the domain makes no statement about the client",
    Outcome.NONE: "the domain has no SPF record",
    Outcome.PERMERROR: "the domain's SPF record cannot be read",
    Outcome.TEMPERROR: "the domain's SPF record could not be fetched",
}


def host_text(name: str) -> str:
    """A name that a stranger gave, fit for a trace field: host name or address literal as is, else with each unsafe
    character shown as ``?`` ('unknown' when empty)."""
    if parse_literal(name) is not None:
        return name
    return _HOST_UNSAFE.sub("?", name)[:255] or "unknown"


def quoted(text: str, utf8: bool = False) -> str:
    """A quoted-string (RFC 5322 section 3.2.4) of at most 330 characters of ``text``; controls become ``?``, and so
    does all that is not ASCII unless ``utf8`` (RFC 6532)."""
    clean = (_QUOTE_UNSAFE_UTF8 if utf8 else _QUOTE_UNSAFE).sub("?", text[:_TEXT_LENGTH])
    return '"' + re.sub(r'(["\\])', r"\\\1", clean) + '"'


def folded(name: str, words: Sequence[str]) -> bytes:
    """A field of these words, CRLF at the end. Each word stands whole on a line; a word '' begins a new line."""
    lines, line = [], f"{name}:"
    for word in words:
        if not word or len(line) + 1 + len(word) > FOLD_AT:
            if line.strip() and line != f"{name}:":
                lines.append(line)
                line = ""
            if not word:
                continue
        line += f" {word}"
    if line.strip():  # a blank line would end the header
        lines.append(line)
    return ("\r\n".join(lines) + "\r\n").encode("utf-8")


def address_text(address: Address) -> str:
    """``192.0.2.1`` or ``IPv6:2001:db8::1``, as it stands between brackets (RFC 5321 section 4.1.3)."""
    return f"IPv6:{address}" if isinstance(address, IPv6Address) else str(address)


def protocol_word(tx: Transaction) -> str:
    """The ``with`` word (RFC 3848, RFC 6531 section 4.3): SMTP, ESMTP, ESMTPS, UTF8SMTP or UTF8SMTPS."""
    if tx.hello is None or tx.hello.verb.upper() != "EHLO":
        return "SMTP"
    base = "UTF8SMTP" if tx.envelope and tx.envelope.smtputf8 else "ESMTP"
    return base + ("S" if tx.connection.tls else "")


def received_field(tx: Transaction, hostname: str) -> bytes:
    """Our Received field: ``from HELO (rdns [ip]) by HOST (mxgw) with ESMTPS id ID (using TLSv1.3 with cipher X) for
    <one@only>; date``. rdns is ``unknown`` unless the iprev check confirmed it; ``for`` names the recipient only when
    there is exactly one, so that nobody learns of another. The date is the transaction's beginning, in UTC. A trusted
    relay is named itself, and not the client behind it, which stands in the relay's own field."""
    tx = tx.as_connected()
    relay = tx.connection.external_relay
    iprev = None if relay else tx.findings.get("iprev")
    confirmed = iprev is not None and iprev.outcome is Outcome.PASS
    rdns = host_text(str(iprev.evidence.get("name", ""))) if iprev and confirmed else "unknown"
    ip = address_text(tx.connection.client_ip) if tx.connection.client_known or relay else "unknown"
    words = ["from", host_text(tx.hello.name if tx.hello else ""), f"({rdns} [{ip}])", ""]
    words += ["by", hostname, "(mxgw)", "with", protocol_word(tx), "id", _HOST_UNSAFE.sub("?", tx.id)[:128], ""]
    if tls := tx.connection.tls:
        words += [f"(using {_HOST_UNSAFE.sub('?', tls.version)} with cipher {_HOST_UNSAFE.sub('?', tls.cipher)})", ""]
    if only := _only_recipient(tx):
        words += ["for", f"<{only}>"]
    else:
        words.pop()  # the date goes on in the last clause's line, after its semicolon
    words[-1] += ";"
    return folded("Received", [*words, format_datetime(datetime.fromtimestamp(tx.now, UTC))])


def _only_recipient(tx: Transaction) -> str:
    if not tx.envelope or len(tx.envelope.recipients) != 1:
        return ""
    text = str(tx.envelope.recipients[0])
    unsafe = _QUOTE_UNSAFE_UTF8 if tx.envelope.smtputf8 else _QUOTE_UNSAFE
    # a clause that would have to be altered is better left out
    return "" if unsafe.search(text) or len(text) > _TEXT_LENGTH else text


def received_spf_field(tx: Transaction, receiver: str = "") -> bytes:
    """Received-SPF with the result and its inputs as key-value pairs, or b'' where SPF was not checked."""
    spf = tx.findings.get("spf")
    if spf is None or spf.outcome not in _SPF_COMMENTS:
        return b""
    utf8 = bool(tx.envelope and tx.envelope.smtputf8)
    reverse_path = tx.envelope.reverse_path if tx.envelope else NULL
    pairs = [("client-ip", str(tx.connection.client_ip)), ("envelope-from", str(reverse_path))]
    pairs += [("helo", tx.hello.name if tx.hello else "")]
    pairs += [("identity", "helo" if reverse_path is NULL or spf.evidence.get("identity") == "helo" else "mailfrom")]
    pairs += [("receiver", receiver)] if receiver else []
    words = [spf.outcome.value, f"({_SPF_COMMENTS[spf.outcome]})"]
    for key, value in pairs:
        shown = value if _DOT_ATOM.fullmatch(value) and len(value) <= _TEXT_LENGTH else quoted(value, utf8)
        words.append(f"{key}={shown};")
    words[-1] = words[-1].removesuffix(";")
    return folded("Received-SPF", words)
