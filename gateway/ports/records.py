"""A judge of the records that a domain publishes about its mail, for an operator's question.

Known gaps: none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Judged:
    """What a record's grammar and references come to. unanswered: DNS gave no answer, somewhere on the way."""

    valid: bool
    record: str = ""
    warnings: tuple[str, ...] = ()
    error: str = ""
    unanswered: bool = False


class RecordJudge(Protocol):
    """Blocks; may ask DNS for what the record refers to."""

    def judge(self, kind: str, domain: str) -> Judged:
        """kind: spf, dmarc, mta-sts or tls-rpt."""
        ...
