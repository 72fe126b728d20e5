"""The one exception a port raises: we could not find out (or could not do it).

NXDOMAIN, an unknown recipient or a refused message are answers, not failures.

Known gaps: none.
"""

from __future__ import annotations

from gateway.mail.finding import Cause, Why


class PortFailure(Exception):
    """A port let us down; ``cause`` says which and how. Not a dataclass: contextlib writes to ``__traceback__``."""

    def __init__(self, port: str, why: Why, detail: str = "") -> None:
        self.cause = Cause(port, why, detail)
        super().__init__(str(self.cause))
