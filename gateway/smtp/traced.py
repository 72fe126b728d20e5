"""Dialogs as they happen, for ``mxgw trace``: commands and replies of chosen clients, never content.

While nobody asks, a session pays one test of a list for each line. Lines are cut, their number is bounded, and of too
many the oldest are dropped and counted.

Known gaps: what is said before the client's address is known (PROXY header) is not shown.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Any, Final

from gateway.mail.message import Message
from gateway.mail.reply import Reply
from gateway.reception import Reception
from gateway.smtp.commands import Commands
from gateway.smtp.intake import Unreadable
from gateway.smtp.session import Session
from gateway.smtp.transfer import Transfer
from gateway.smtp.wire import Broken

LINES: Final = 500
TEXT: Final = 300

Address = IPv4Address | IPv6Address
Open = Iterable[tuple[str, Address, float]]


class Tracer:
    """Of one worker. open_sessions: id, client and age in seconds of each session now."""

    def __init__(self, open_sessions: Callable[[], Open] = tuple) -> None:
        self.orders: list[tuple[str, IPv4Network | IPv6Network]] = []
        self._open = open_sessions
        self._lines: dict[str, deque[tuple[str, str, float, str, str]]] = {}
        self._dropped: dict[str, int] = {}

    def told(self, orders: Sequence[Sequence[str]]) -> None:
        """The orders from now on: id and network of each."""
        before = {ident for ident, _ in self.orders}
        self.orders = [(ident, ip_network(network)) for ident, network in orders]
        self._lines = {ident: self._lines.get(ident, deque(maxlen=LINES)) for ident, _ in self.orders}
        self._dropped = {ident: self._dropped.get(ident, 0) for ident, _ in self.orders}
        for ident, network in self.orders:
            if ident not in before:
                for session, client, seconds in self._open():
                    if client in network:
                        self._add(ident, session, client, "-", f"open for {seconds:.0f} s")

    def note(self, session: str, client: Address, way: str, text: str) -> None:
        """A line: way C the client's, S ours, - about the session."""
        for ident, network in self.orders:
            if client in network:
                self._add(ident, session, client, way, text)

    def _add(self, ident: str, session: str, client: Address, way: str, text: str) -> None:
        lines = self._lines[ident]
        self._dropped[ident] += len(lines) == LINES
        lines.append((session, str(client), round(time.time(), 3), way, text[:TEXT]))

    def take(self) -> dict[str, Any] | None:
        """What has gathered, for ``cluster.watching.WatchDuty.hear``; None: nothing."""
        taken = {
            ident: {"lines": list(lines), "dropped": self._dropped[ident]}
            for ident, lines in self._lines.items()
            if lines
        }
        for ident in taken:
            self._lines[ident].clear()
            self._dropped[ident] = 0
        return taken or None


class TracedSession(Session):
    """A session whose dialog can be looked at."""

    def seen(self) -> tuple[str, Address, float] | None:
        """Id, client and age in seconds; None: nobody knows the client yet."""
        if self._reception is None:
            return None
        connection = self._reception.connection
        return connection.session_id, connection.client_ip, self.loop.time() - self._started

    @property
    def _watched(self) -> bool:
        return bool(self._server.tracer.orders)

    def _note(self, way: str, text: str) -> None:
        if self._reception is not None:
            connection = self._reception.connection
            self._server.tracer.note(connection.session_id, connection.client_ip, way, text)

    async def _obey(
        self, command: bytes | Broken, reception: Reception, commands: Commands, transfer: Transfer
    ) -> None:
        if self._watched:
            said = f"({command.value})" if isinstance(command, Broken) else command.decode("utf-8", "backslashreplace")
            said = said.rstrip("\r\n")
            # we do not offer it, but some client may send a password all the same
            self._note("C", "AUTH ..." if said[:4].upper() == "AUTH" else said)
        await super()._obey(command, reception, commands, transfer)

    async def _content(
        self,
        reading: Awaitable[Message | Unreadable | Reply],
        reception: Reception,
        commands: Commands,
        transfer: Transfer,
    ) -> None:
        if self._watched:
            self._note("C", "(content)")
        await super()._content(reading, reception, commands, transfer)

    def _say(self, reply: Reply) -> None:
        if self._watched:
            self._note("S", str(reply))
        super()._say(reply)

    def _end(self, ended: str) -> None:
        if self._watched:
            self._note("-", f"ended: {ended}")
        super()._end(ended)
