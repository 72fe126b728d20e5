"""docs/replies.md says what the reply table says. ``MXGW_UPDATE=1`` writes it anew."""

from __future__ import annotations

import os
from pathlib import Path

from gateway.mail.reply import REPLIES, _Row

PAGE = Path(__file__).parents[2] / "docs" / "replies.md"
HEAD = """# Replies

Every reply that a policy or a phase of a transaction can give, by its reason; written from `gateway.mail.reply.REPLIES`
(`MXGW_UPDATE=1 pytest tests/mail`). The reason is the word that stands in decision records, metrics and policies. The id
of the transaction or session follows each text in brackets: quote it to the postmaster. 4yz: the client tries again
later; 5yz: it gives the message back to its author. Where a text has `DOMAIN`, the domain whose policy was applied
stands there, or the list (by its name, never with an access key); where it has `IP`, the address that was judged.

Refusals of a command's syntax or order (500 to 504, 553, 555) are not listed. They carry the id too, and stand in the
field `protocol` of the transaction's record, or of the session's where none was open. What a node says in place of a
session because it is full or ends (421 4.3.2) is counted and not recorded: a flood would fill the log.

| reason | code | status | text | session |
|---|---|---|---|---|
"""


def _text(row: _Row) -> str:
    return (row.about or row.text).format("DOMAIN") + (" (client IP)" if row.names_client else "")


def test_the_page_is_that_of_the_table() -> None:
    rows = [
        f"| `{reason}` | {row.code} | {row.enhanced} | {_text(row)} | {'ends' if row.close else ''} |\n"
        for reason, row in REPLIES.items()
    ]
    current = HEAD + "".join(rows).replace("|  |\n", "| |\n")
    if os.environ.get("MXGW_UPDATE"):
        PAGE.write_text(current, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == current
