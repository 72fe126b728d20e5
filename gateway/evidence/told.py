"""A decision record in lines for people: facts, findings with their times, rules. Pure; nothing is escaped here.

Known gaps: none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

_CUT: Final = 400


@dataclass(frozen=True, slots=True)
class Told:
    """One RCPT: the address, our reply, and what the mailstore did."""

    address: str
    reply: str
    mailstore: str


def facts_of(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and value, without what is absent."""
    client = str(record.get("client_ip", ""))
    if record.get("rdns"):
        client += f" ({record['rdns']}, {'confirmed' if record.get('fcrdns') else 'not confirmed'})"
    times = {**record.get("t", {}), **{f"mailstore {k}": v for k, v in record.get("t_mailstore", {}).items()}}
    store = " ".join(str(record.get(key, "")) for key in ("mailstore", "ms_reply", "ledger")).strip()
    cause = record.get("ms_cause")
    rows = [
        ("id", f"{record.get('qid', '')} (session {record.get('sid', '')}, node {record.get('node', '')})"),
        ("time", str(record.get("time", ""))),
        ("client", client),
        ("relay", f"{record['relay_ip']} {_relay(record)}" if "relay_ip" in record else ""),
        ("hello", str(record.get("helo", ""))),
        ("tls", str(record.get("tls", ""))),
        ("from", str(record.get("from", "")) or ("<>" if record.get("event") == "transaction" else "")),
        ("message-id", str(record.get("msgid", ""))),
        ("size", f"{record['size']} octets" if "size" in record else ""),
        ("result", f"{record.get('result', '')}: {record.get('reply', '')}"),
        ("mailstore", store),
        ("no answer", " ".join(map(str, cause.values())) if isinstance(cause, Mapping) else ""),
        ("protocol", "; ".join(str(said) for said in record.get("protocol", ()) if said != record.get("reply"))),
        ("detail", str(record.get("detail", ""))),
        ("policy", f"{record.get('policy', '')} profile {record.get('profile', '')}"),
        ("seconds", "  ".join(f"{name} {seconds:.3f}" for name, seconds in times.items())),
    ]
    return [(name, value) for name, value in rows if value]


def _relay(record: Mapping[str, Any]) -> str:
    if "relay_hop" not in record:
        return "(the client behind it is not known)"
    return f"({record.get('relay_helo', '')}; the client stands in its Received field {record['relay_hop']})"


def recipients_of(record: Mapping[str, Any]) -> list[Told]:
    """Each RCPT."""
    return [
        Told(
            str(one.get("address", "")),
            str(one.get("reply", "")),
            " ".join(str(one[key]) for key in ("result", "mailstore_reply") if one.get(key)),
        )
        for one in record.get("rcpts", ())
    ]


def findings_of(record: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Check, outcome with its reason, seconds, evidence."""
    times = record.get("t_checks", {})
    rows = []
    for name, said in record.get("findings", {}).items():
        outcome = f"{said['outcome']} ({said['reason']})" if said.get("reason") else str(said["outcome"])
        evidence = [f"{key}={value}" for key, value in said.get("evidence", {}).items() if value not in ("", [], None)]
        if cause := said.get("cause"):
            evidence.append(" ".join(map(str, cause.values())))
        evidence += [
            f"{signature.get('outcome')}:{signature.get('domain')}" for signature in said.get("signatures", ())
        ]
        spent = f"{times[name] * 1000:.0f} ms" if name in times else "-"
        rows.append((str(name), outcome, spent, " ".join(evidence)[:_CUT]))
    return rows


def rules_of(record: Mapping[str, Any]) -> list[str]:
    """Each rule that hit, and what was not known."""
    lines = [
        f"{rule['id']}: {rule['then']}{' (taken out by an accept rule)' if rule.get('cut') else ''}"
        for rule in record.get("rules", ())
    ]
    if record.get("unknown"):
        lines.append(f"not known: {', '.join(map(str, record['unknown']))}")
    if record.get("enforced") is False:
        lines.append("observe mode: nothing was enforced")
    return lines
