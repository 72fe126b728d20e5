"""docs/replies.md says what the reply table says. ``MXGW_UPDATE=1`` writes it anew."""

from __future__ import annotations

import os
from pathlib import Path

from gateway.mail.reply import REPLIES

PAGE = Path(__file__).parents[2] / "docs" / "replies.md"
HEAD = """# Replies

Every reply that a policy or a phase of a transaction can give, by its reason; written from `gateway.mail.reply.REPLIES`
(`MXGW_UPDATE=1 pytest tests/mail`). The reason is the word that stands in decision records, metrics and policies. The id
of the transaction or session follows each text in brackets: quote it to the postmaster. 4yz: the client tries again
later; 5yz: it gives the message back to its author. Refusals of a command's syntax (500 to 504, 555) are not listed.
Where a text has `DOMAIN`, the domain whose policy was applied stands there.

| reason | code | status | text | session |
|---|---|---|---|---|
"""


def test_the_page_is_that_of_the_table() -> None:
    rows = [
        f"| `{reason}` | {row.code} | {row.enhanced} | {(row.about or row.text).format('DOMAIN')} | {'ends' if row.close else ''} |\n"
        for reason, row in REPLIES.items()
    ]
    current = HEAD + "".join(rows).replace("|  |\n", "| |\n")
    if os.environ.get("MXGW_UPDATE"):
        PAGE.write_text(current, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == current
