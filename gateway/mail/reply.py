"""SMTP replies leave through this one door (RFC 5321 section 4.2, enhanced status codes of RFC 3463 and RFC 5248).

:class:`Reply` checks itself: code and enhanced class agree, printable ASCII, at most 512 octets a line. Every reply
that a policy or a phase can give stands in :data:`REPLIES`, keyed by reason; the same condition has the same answer
everywhere. The text holds no evidence but the address of a client behind a trusted relay, and ends with the transaction
id, which a foreign postmaster can quote. A crash or a fault of ours is always a 4yz.

Known gaps: texts are English only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gateway.mail import limits

_PRINTABLE = re.compile(r"[\x20-\x7e]*")
_DOMAIN = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?")
_ENHANCED = re.compile(r"([245])\.\d{1,3}\.\d{1,3}")


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply, possibly of several lines. enhanced is '' where RFC 2034 section 4 has none (greeting, EHLO, 354)."""

    code: int
    enhanced: str
    text: str
    more: tuple[str, ...] = ()
    close: bool = False  # the session ends after it

    def __post_init__(self) -> None:
        if not 200 <= self.code <= 599:
            raise ValueError(f"{self.code} is not a reply code")
        if self.enhanced:
            match = _ENHANCED.fullmatch(self.enhanced)
            if not match or match[1] != str(self.code)[0]:
                raise ValueError(f"{self.code} and {self.enhanced} are not of one class")
        for line in self.lines():
            if not _PRINTABLE.fullmatch(line) or len(line) + 2 > limits.REPLY_LINE_OCTETS:
                raise ValueError("a reply line is printable ASCII of at most 510 characters")

    def lines(self) -> list[str]:
        """The lines without CRLF, hyphen or blank after the code."""
        status = f"{self.enhanced} " if self.enhanced else ""
        texts = (self.text, *self.more)
        return [f"{self.code}{'-' if n < len(texts) - 1 else ' '}{status}{t}" for n, t in enumerate(texts)]

    def encode(self) -> bytes:
        """The octets on the wire."""
        return "".join(line + "\r\n" for line in self.lines()).encode("ascii")

    def __str__(self) -> str:
        return " / ".join(self.lines())


@dataclass(frozen=True, slots=True)
class _Row:
    code: int
    enhanced: str
    text: str
    close: bool = False
    about: str = ""  # the text where a domain can be named in it
    names_client: bool = False  # the client's address is what it is about: its postmaster has to know which


REPLIES: dict[str, _Row] = {
    # policy: permanent
    "auth-policy": _Row(
        550,
        "5.7.1",
        "The author domain's DMARC policy refuses this message",
        about="The DMARC policy of {} refuses this message",
    ),
    "spf-policy": _Row(
        550,
        "5.7.23",
        "SPF validation failed and local policy refuses it",
        about="SPF validation of {} failed and local policy refuses it",
        names_client=True,
    ),
    "dkim-policy": _Row(550, "5.7.20", "No passing DKIM signature, which local policy requires"),
    "dnsbl": _Row(
        554,
        "5.7.1",
        "The client address is on a block list",
        about="The client address is on the block list {}",
        names_client=True,
    ),
    "blocked": _Row(554, "5.7.1", "Refused by local policy"),
    "helo-policy": _Row(550, "5.7.1", "HELO or EHLO name refused by local policy"),
    "early-talker": _Row(554, "5.7.1", "You talked before the greeting (RFC 5321 section 4.3.1)", close=True),
    "ptr-policy": _Row(550, "5.7.25", "The client address has no valid reverse name", names_client=True),
    "too-many-unknown": _Row(421, "4.7.0", "Too many unknown recipients from your network", close=True),
    "recipient-unknown": _Row(550, "5.1.1", "No such recipient"),
    "relay-denied": _Row(550, "5.7.1", "This domain is not served here"),
    "loop": _Row(554, "5.4.6", "Mail loop: too many Received fields"),
    "tls-required": _Row(530, "5.7.0", "Must issue a STARTTLS command first"),
    "content-policy": _Row(554, "5.7.1", "Content refused by local policy"),
    # policy: temporary
    "greylisted": _Row(451, "4.7.1", "Greylisted, please try again later"),
    "rate": _Row(451, "4.7.1", "Too many requests from your network, please slow down", names_client=True),
    "rate-connect": _Row(421, "4.7.0", "Too many connections from your network", close=True, names_client=True),
    "unknown": _Row(451, "4.7.1", "A check could not be completed, please try again later"),
    "unknown-connect": _Row(421, "4.7.0", "A check could not be completed, please try again later", close=True),
    "local-policy-defer": _Row(451, "4.7.1", "Deferred by local policy, please try again later"),
    # the wire
    "too-big": _Row(552, "5.3.4", "Message exceeds the size limit"),
    "bare-line-ending": _Row(554, "5.5.2", "Bare CR or LF is not allowed (RFC 5321 section 2.3.8)", close=True),
    "line-too-long": _Row(554, "5.5.2", "A text line is too long"),
    "header-too-big": _Row(552, "5.3.4", "The header is too big"),
    "mime-too-complex": _Row(554, "5.6.0", "The MIME structure has too many parts or levels"),
    "too-many-recipients": _Row(452, "4.5.3", "Too many recipients, send the rest in another transaction"),
    "other-route": _Row(452, "4.5.3", "Send this recipient in another transaction"),
    "local-error": _Row(451, "4.3.0", "Local error, please try again later"),
    "shutting-down": _Row(421, "4.3.2", "Service is shutting down, please try again", close=True),
    "too-many-sessions": _Row(421, "4.3.2", "Too many sessions, please try again later", close=True),
    "memory-short": _Row(421, "4.3.2", "Short of memory, please try again later", close=True),
    "too-many-sessions-client": _Row(421, "4.7.0", "Too many sessions from your address", close=True),
    "timeout": _Row(421, "4.4.2", "Timeout, closing the connection", close=True),
    "too-many-errors": _Row(421, "4.7.0", "Too many errors, closing the connection", close=True),
    "too-many-transactions": _Row(421, "4.7.0", "Too many transactions in one session", close=True),
    "proxy-protocol": _Row(421, "4.3.2", "This port expects a PROXY header from a trusted balancer", close=True),
    # the mailstore
    "mailstore-unavailable": _Row(451, "4.4.1", "The mailstore does not answer, please try again later"),
    "mailstore-lost": _Row(451, "4.4.2", "The mailstore's answer was lost, please try again later"),
    "mailstore-deferred": _Row(451, "4.3.0", "The mailstore cannot take the message now"),
    "handing-over": _Row(451, "4.3.0", "This message is on its way to the mailstore already, please try again later"),
    "mailstore-refused": _Row(550, "5.0.0", "The mailstore refused the message"),
    "recipient-deferred": _Row(451, "4.4.1", "The recipient cannot be verified now, please try again later"),
    # positive
    "accepted": _Row(250, "2.0.0", "Accepted"),
    "mail-ok": _Row(250, "2.1.0", "Sender ok"),
    "rcpt-ok": _Row(250, "2.1.5", "Recipient ok"),
}
"""reason -> code, status, text. docs/replies.md is generated from it."""


def reply_for(reason: str, transaction_id: str, text: str | None = None, *, about: str = "", client: str = "") -> Reply:
    """The reply of that reason with the transaction id: ``451 4.7.1 Greylisted, please ... [7F3KQ2-1]``.

    text replaces the table's text (only for what a mailstore said, sanitised by :func:`sanitise`). about: a domain that
    the text names where the table has words for it; anything but a domain name is left out. client: the address that
    was judged, where the text is about it or where it is behind a trusted relay, whose postmaster would look for
    his own.
    """
    row = REPLIES[reason]
    if text is None and row.about and _DOMAIN.fullmatch(about):
        text = row.about.format(about)
    judged = f" (client {client})" if client else ""
    return Reply(row.code, row.enhanced, f"{text or row.text}{judged} [{transaction_id}]", close=row.close)


def sanitise(text: str, length: int = 300) -> str:
    """A foreign text made fit for a reply: printable ASCII, one line, bounded."""
    return re.sub(r"[^\x20-\x7e]+", "?", text)[:length].strip()
