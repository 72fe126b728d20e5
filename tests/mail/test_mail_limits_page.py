"""docs/limits.md says what the table of limits says, and the table names every limit. ``MXGW_UPDATE=1`` writes it anew."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path

from gateway.mail.limits import WIRE_TABLE, WireLimits
from gateway.mail.reply import REPLIES

PAGE = Path(__file__).parents[2] / "docs" / "limits.md"
HEAD = """# Limits

Every limit that a client can meet, what it hears there and where the number comes from; written from
`gateway.mail.limits.WIRE_TABLE` (`MXGW_UPDATE=1 pytest tests/mail`). Those with a setting are changed under `limits:` in
the settings file ([settings.md](settings.md)); 0 turns off the ones that allow it. At the limit all is well; one more
meets the reply. Limits of the checks (look-ups, rates, lists) stand with the checks in [policy.md](policy.md).

| limit | default | setting | reply | reason | source |
|---|---|---|---|---|---|
"""
TAIL = """
## How some are counted

- **Command and text lines** with their CRLF. A command line that is too long is skipped to its end and costs one error;
  a text line that is too long costs the message. Text lines reach the mailstore octet by octet as they came.
- **Fruitless commands**: NOOP, RSET, HELP, VRFY, EXPN, EHLO, HELO and each refused RCPT; a MAIL that is accepted begins the
  count anew.
- **Header**: from the first field to the CRLF before the empty line. Lines that continue a field do not count as fields.
- **MIME**: lines that begin as a delimiter of an open multipart, and the part headers behind them. A message without
  multiparts is one part of depth 1; a forwarded message counts as a level of its own.
- **Rate**: the octets of content that came in each window, from the `354` on. Time in which the node itself is busy does
  not count against the client, because the rate is looked at only while the node waits for octets.
- **Sessions** of a client and of its network are counted by each worker; the kernel spreads connections over the workers.
  A node's sessions are shared out evenly. A balancer's probes count for nobody.
- **Memory**: of the control group where it has a bound, else of the machine; page cache that can go at once is not used
  memory. It is looked at twice a second at most, before the greeting. Sessions that are open go on.
- **A full worker** ends the session that has waited longest for its client's next command, if that is 10 s and more, and
  serves the newcomer; with no such session the newcomer is refused.
- **Time**: whoever is too slow hears `421 4.4.2`. A client that does not read its replies is cut off without a word.
"""


def number(value: float, unit: str) -> str:
    text = f"{value:,g}" if value < 100_000 else f"{int(value):,}"
    return f"{text} {unit}".strip()


def test_the_page_is_that_of_the_table() -> None:
    rows = []
    for limit in WIRE_TABLE:
        row = REPLIES.get(limit.heard)
        heard, reason = (f"{row.code} {row.enhanced}", f"`{limit.heard}`") if row else (limit.heard, "")
        setting = f"`{limit.setting}`" if limit.setting else ""
        cells = (limit.what, number(limit.value, limit.unit), setting, heard, reason, limit.source)
        rows.append("| " + " | ".join(cells).replace("|  |", "| |") + " |\n")
    current = HEAD + "".join(rows) + TAIL
    if os.environ.get("MXGW_UPDATE"):
        PAGE.write_text(current, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == current


def test_every_limit_that_a_setting_changes_stands_in_the_table_with_its_default() -> None:
    # towards the mailstore and at the end of a node: no client hears of them
    ours = {"answer_budget", "ledger_remember", "drain_settle", "drain_timeout"}
    table = {limit.setting: limit.value for limit in WIRE_TABLE if limit.setting}
    assert table == {item.name: item.default for item in fields(WireLimits) if item.name not in ours}


def test_what_a_client_hears_is_a_reply() -> None:
    for limit in WIRE_TABLE:
        assert limit.heard in REPLIES or limit.heard[:1].isdigit() or " " in limit.heard, limit
