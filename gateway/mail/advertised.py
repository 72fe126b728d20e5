"""What the node says of itself before it knows its client: the greeting and the words of EHLO.

One place, so that the wire and the heartbeat, by which nodes are compared, cannot differ.

Known gaps: none.
"""

from __future__ import annotations

from gateway.mail.limits import WireLimits


def greeting(hostname: str) -> str:
    """The text behind 220 (RFC 5321 section 4.2)."""
    return f"{hostname} ESMTP mxgw"


def ehlo_words(limits: WireLimits) -> tuple[str, ...]:
    """The words that each client hears; STARTTLS, REQUIRETLS and XCLIENT depend on the session."""
    return (
        "PIPELINING",
        f"SIZE {limits.message_octets}",
        "8BITMIME",
        "SMTPUTF8",
        "ENHANCEDSTATUSCODES",
        "CHUNKING",
        "DSN",
        "PRDR",
        f"LIMITS MAILMAX={limits.transactions} RCPTMAX={limits.recipients}",
    )
