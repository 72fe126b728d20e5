"""Finding decisions: what an operator knows of a message, tested against decision records. Pure.

Known gaps: a record that was too big has its first recipients only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any, Final

VERDICTS: Final = ("accept", "quarantine", "defer", "reject", "none")
RESULTS: Final = ("accepted", "partly", "deferred", "rejected", "aborted")

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Query:
    """All that is said must hold; an empty query finds all. reverse_path and recipient: an address, a domain, or a
    pattern with ``*``; ``<>`` is the null reverse-path. ip: an address or a network. id: of a transaction or a session.
    verdict: one of VERDICTS or RESULTS."""

    reverse_path: str = ""
    recipient: str = ""
    network: IPv4Network | IPv6Network | None = None
    msgid: str = ""
    id: str = ""
    verdict: str = ""

    @classmethod
    def of(
        cls,
        reverse_path: str = "",
        recipient: str = "",
        ip: str = "",
        msgid: str = "",
        ident: str = "",
        verdict: str = "",
    ) -> Query:
        """From what people write. Raises ValueError."""
        if verdict and verdict not in (*VERDICTS, *RESULTS):
            raise ValueError(f"{verdict}: one of {', '.join((*VERDICTS, *RESULTS))}")
        try:
            network = ip_network(ip.strip().strip("[]"), strict=False) if ip.strip() else None
        except ValueError as error:
            raise ValueError(f"{ip}: an address or a network such as 192.0.2.0/24") from error
        said = [text.strip().lower() for text in (reverse_path, recipient)]
        return cls(said[0], said[1], network, msgid.strip().strip("<>"), plain_id(ident), verdict)

    def finds(self, record: Record) -> bool:
        """Whether the record is one of those."""
        return (
            (not self.id or is_of(record, self.id))
            and (not self.network or _inside(record, self.network))
            and (not self.reverse_path or _matches(self.reverse_path, [_path(record)]))
            and (not self.recipient or _matches(self.recipient, recipients(record)))
            and (not self.msgid or str(record.get("msgid", "")).strip().strip("<>") == self.msgid)
            and (not self.verdict or self.verdict in (record.get("verdict"), record.get("result")))
        )


def plain_id(text: str) -> str:
    """An id as it stands in a bounce, with or without the brackets."""
    return text.strip().strip("[]").upper()


def is_of(record: Record, ident: str) -> bool:
    """Whether that is the id of the transaction, of the whole that PRDR split, or of the session."""
    qid = str(record.get("qid", ""))
    return ident in (qid, qid.partition(".")[0], str(record.get("sid", "")))


def recipients(record: Record) -> list[str]:
    """All RCPT of the transaction, refused ones too."""
    asked = [str(one.get("address", "")) for one in record.get("rcpts", ())]
    return list(dict.fromkeys((*asked, *map(str, record.get("rcpt", ())))))


def _path(record: Record) -> str:
    if record.get("event") != "transaction":
        return ""
    return str(record.get("from", "")) or "<>"


def _inside(record: Record, network: IPv4Network | IPv6Network) -> bool:
    try:
        return ip_address(str(record.get("client_ip", ""))) in network
    except ValueError:
        return False


def _matches(wanted: str, addresses: Sequence[str]) -> bool:
    for address in map(str.lower, addresses):
        if "*" in wanted or "?" in wanted:
            if fnmatchcase(address, wanted):
                return True
        elif wanted in (address, address.rpartition("@")[2]) or wanted == f"@{address.rpartition('@')[2]}":
            return bool(address)
    return False


COLUMNS: Final = ("TIME", "ID", "NODE", "CLIENT", "FROM", "TO", "RESULT", "REASON")


def row(record: Record) -> tuple[str, ...]:
    """The same of a record as COLUMNS names."""
    to = recipients(record)
    return (
        str(record.get("time", ""))[:19].replace("T", " "),
        str(record.get("qid", "")),
        str(record.get("node", "")).partition(".")[0],
        str(record.get("client_ip", "")),
        _path(record) or "-",
        f"{to[0]} +{len(to) - 1}" if len(to) > 1 else "".join(to) or "-",
        str(record.get("result", "")),
        str(record.get("reason", "")),
    )
