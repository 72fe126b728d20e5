"""Who watches: metrics and the journal of decision records as a port, so that the middle counts without knowing how.

Every label value is from a closed set; no address, domain or id is ever a label.

Known gaps: none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

Record = Mapping[str, Any]
"""A decision record: JSON-able; fields in docs/decision-record.md."""


class Observer(Protocol):
    """Called on the event loop; must return at once and never raise."""

    def transaction(self, record: Record) -> None:
        """A transaction (or a refused connection) ended; this is its decision record."""
        ...

    def reply(self, verb: str, code: int, reason: str) -> None:
        """A reply left: verb in upper case, code, reason (key of REPLIES, '' for plain protocol replies)."""
        ...

    def connection(self, family: int, result: str, listener: str = "") -> None:
        """A connection came. family 4 or 6; result: accepted, refused_limit, refused_drain, proxy_error, probe; or an
        accepted one talked before it was greeted: pregreet."""
        ...

    def greeted(self, seconds: float) -> None:
        """Our greeting is said, so long after the connection was made."""
        ...

    def held(self, seconds: float) -> None:
        """A client was held for so long, before the greeting or before a reply."""
        ...

    def session_ended(self, seconds: float, ended: str, session: str = "") -> None:
        """A session ended. ended: quit, timeout, lost, refused, drained, error. session: its id, where it has one."""
        ...

    def tls_handshake(self, side: str, version: str, result: str) -> None:
        """side: in, out; result: ok, handshake_error, timeout, client_abort."""
        ...

    def tls_time(self, side: str, seconds: float) -> None:
        """A handshake that succeeded took so long. side: in."""
        ...

    def tls_failure(self, side: str, cause: str) -> None:
        """Why a handshake failed. side: in; cause: one of the words of ``smtp.tls_watch.CAUSES``."""
        ...

    def mailstore_attempt(self, mailstore: str, result: str, seconds: float) -> None:
        """One hand-over. result: delivered, deferred, refused, maybe, or the Why of a port failure, of which
        ``refused`` is called unreachable here."""
        ...

    def mailstore_reply(self, mailstore: str, phase: str, code: int) -> None:
        """A mailstore replied. phase: greeting, hello, starttls, xclient, mail, rcpt, data, dot, other."""
        ...


class NullObserver:
    """Watches nothing: for explain and for tests."""

    def transaction(self, record: Record) -> None:
        """Nothing."""

    def reply(self, verb: str, code: int, reason: str) -> None:
        """Nothing."""

    def connection(self, family: int, result: str, listener: str = "") -> None:
        """Nothing."""

    def greeted(self, seconds: float) -> None:
        """Nothing."""

    def held(self, seconds: float) -> None:
        """Nothing."""

    def session_ended(self, seconds: float, ended: str, session: str = "") -> None:
        """Nothing."""

    def tls_handshake(self, side: str, version: str, result: str) -> None:
        """Nothing."""

    def tls_time(self, side: str, seconds: float) -> None:
        """Nothing."""

    def tls_failure(self, side: str, cause: str) -> None:
        """Nothing."""

    def mailstore_attempt(self, mailstore: str, result: str, seconds: float) -> None:
        """Nothing."""

    def mailstore_reply(self, mailstore: str, phase: str, code: int) -> None:
        """Nothing."""
