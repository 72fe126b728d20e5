"""The phases of a transaction, in the order in which they pass (RFC 5321 section 3.3; connect is the greeting).

Known gaps: none.
"""

from __future__ import annotations

from enum import StrEnum


class Phase(StrEnum):
    """connect, helo, mail, rcpt (once a recipient), content (after the final dot)."""

    CONNECT = "connect"
    HELO = "helo"
    MAIL = "mail"
    RCPT = "rcpt"
    CONTENT = "content"

    @property
    def order(self) -> int:
        """Position in the transaction, from 0."""
        return _ORDER[self]


_ORDER = {phase: n for n, phase in enumerate(Phase)}
