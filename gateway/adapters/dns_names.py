"""What all resolvers agree on about names: which can exist, how they are written.

Known gaps: labels with a dot inside (``a\\.b``) cannot be asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import dns.name

RTYPES = frozenset({"A", "AAAA", "TXT", "MX", "PTR", "CNAME"})


def question(name: str) -> str | None:
    """A name in lower case without its trailing dot, or None where no such name can exist (RFC 1035 section 2.3.4):
    empty or long labels, more than 253 octets, characters outside ASCII (an A-label was due)."""
    name = name.removesuffix(".").lower()
    if not name.isascii() or len(name) > 253:
        return None
    if any(not 0 < len(label) < 64 for label in name.split(".")):
        return None
    return name


def host(name: str) -> str:
    """A name out of an answer: lower case, without trailing dot; ``"."`` for the root (the exchange of a null MX)."""
    return name.rstrip(".").lower() or "."


def plain(name: dns.name.Name) -> str:
    """dnspython's name as our text: labels as they are, without the root's."""
    return ".".join(label.decode("latin-1") for label in name.labels if label)


def rdata_text(rdata: Any, rtype: str) -> str:
    """dnspython's record data as ``ports.dns.Answer`` has it; of types that it does not know, as in master files."""
    match rtype:
        case "A" | "AAAA":
            return str(rdata.address)
        case "TXT":
            return b"".join(rdata.strings).decode("latin-1")
        case "MX":
            return f"{rdata.preference} {host(plain(rdata.exchange))}"
        case "PTR" | "CNAME" | "NS":
            return host(plain(rdata.target))
        case _:
            return str(rdata.to_text())
