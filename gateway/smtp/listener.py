"""The listening sockets of a worker: accept, limit, drain.

Known gaps: limits count the sessions of this worker only; a cluster-wide limit is the rate check's.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable, Sequence
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any, Final

from gateway.mail.limits import TARPIT_SLOTS
from gateway.mail.network import network_of
from gateway.mail.reply import Reply, reply_for
from gateway.mail.transaction import Address, Connection
from gateway.reception import Services
from gateway.smtp.greeting import Slots
from gateway.smtp.headroom import Headroom
from gateway.smtp.identify import HeaderUse, Listener
from gateway.smtp.idle import Idle
from gateway.smtp.session import Session
from gateway.smtp.template import session_template
from gateway.smtp.tls import limit_tls_memory
from gateway.smtp.traced import TracedSession, Tracer

log = logging.getLogger("mxgw.smtp")

BACKLOG: Final = 1024
ACCEPT_AT_ONCE: Final = 64
"""In a flood open sessions have their turn between so many new ones, and those that left at once are noticed."""
LAST_WORDS: Final = 3.0
"""Seconds in which the last that connected before the sockets closed hear their 421."""
SEND_BUFFER_OCTETS: Final = 32 * 1024
ROOM_SHARE: Final = 10
"""A full worker has a tenth more sessions at most while idle ones are ending."""
_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def new_session_id() -> str:
    """Twelve characters of base32 without I, L, O, U: 32 bits of the time in seconds, 28 bits of chance."""
    number = (int(time.time()) & 0xFFFFFFFF) << 28 | secrets.randbits(28)
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(55, -5, -5))


def make_listening_socket(host: str, port: int) -> socket.socket:
    """A bound, listening TCP socket. host: an address, not a name; an IPv6 one does not take IPv4. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # with protocol 0 asyncio would leave Nagle's algorithm on, and each reply would wait for an acknowledgement
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # what is accepted inherits it: a client that does not read may not fill megabytes of the kernel with replies
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_OCTETS)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


class SmtpServer:
    """All sessions of a worker. tls: gives the context in force, or None. spool_dir: where large content lies while it
    is judged; None: the system's directory for temporary files."""

    def __init__(
        self,
        services: Services,
        *,
        tls: Callable[[], ssl.SSLContext | None],
        spool_dir: Path | None = None,
        tarpit_slots: int = TARPIT_SLOTS,
    ) -> None:
        self.services = services
        self.tls = tls
        self.spool_dir = spool_dir
        self.draining = False
        self.shut: Callable[[], str] = lambda: ""
        """Why no new session is served for now, '' if they are; open ones go on all the same."""
        self._servers: list[asyncio.Server] = []
        self._listening: list[tuple[socket.socket, Callable[[], Session]]] = []
        self._sessions: set[Session] = set()
        self._clients: Counter[Address | str] = Counter()
        self.slots = Slots(tarpit_slots, services.observer.held)
        self._headroom = Headroom(services.limits.memory_percent, services.limits.memory_octets, clock=time.monotonic)
        self._client_of: dict[Session, Address] = {}
        self.idle = Idle(services.limits.command_timeout)
        self._handovers: set[asyncio.Task[Any]] = set()
        self._changed = asyncio.Event()
        self._template: dict[str, Any] | None = None
        self.tracer = Tracer(self._seen)
        limit_tls_memory()

    def _seen(self) -> list[tuple[str, Address, float]]:
        return [seen for one in self._sessions if isinstance(one, TracedSession) and (seen := one.seen())]

    def turns_away(self) -> bool:
        """Whether new sessions hear 421 now."""
        return self.draining or bool(self.shut())

    @property
    def sessions(self) -> int:
        """How many sessions there are now, those being refused included."""
        return len(self._sessions)

    @property
    def sessions_by_listener(self) -> Counter[str]:
        """The same by the listener's name."""
        return Counter(session.listener for session in self._sessions)

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Address and port of each listening socket."""
        return tuple(s.getsockname()[:2] for server in self._servers for s in server.sockets)

    async def start(
        self,
        sock: socket.socket,
        name: str,
        proxy_trusted: Sequence[IPv4Network | IPv6Network] = (),
        *,
        direct: bool = False,
        header: HeaderUse = HeaderUse.REQUIRED,
        xclient: Sequence[IPv4Network | IPv6Network] = (),
    ) -> None:
        """Serve on this listening socket, which belongs to the server from now on. The rest: see ``Listener``."""
        template = self._template = self._template or session_template(self.services.identity.hostname)
        listener = Listener(name, tuple(proxy_trusted), direct, header, tuple(xclient))

        def session() -> Session:
            return TracedSession(self, listener, template)

        server = await asyncio.get_running_loop().create_server(session, sock=sock, backlog=ACCEPT_AT_ONCE)
        # asyncio has one number for both: so many are accepted in a row, so many may queue
        sock.listen(BACKLOG)
        self._servers.append(server)
        self._listening.append((sock, session))

    async def drain(self, timeout: float) -> bool:
        """End politely: new and idle sessions get 421, content in flight is finished. True: all ended in time.

        The sockets go on listening so that clients are told; ``close`` ends that.
        """
        self.draining = True
        for session in tuple(self._sessions):
            session.poke()
        if await self._idle(timeout):
            return True
        log.warning("drain: %d sessions, %d hand-overs left", len(self._sessions), len(self._handovers))
        return False

    async def _idle(self, timeout: float) -> bool:
        try:
            async with asyncio.timeout(timeout):
                while self._sessions or self._handovers:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Stop listening and drop what sessions are left; a hand-over that has begun goes on. After a drain, who waits
        in the kernel's queue still hears 421."""
        loop, listening, self._listening = asyncio.get_running_loop(), self._listening, []
        queues = [(sock.dup(), session) for sock, session in listening]
        for server in self._servers:
            server.close()
        for queue, session in queues:
            with queue:
                while self.draining and (client := _next_in(queue)) is not None:
                    await loop.connect_accepted_socket(session, client)
        if self.draining:
            await self._idle(LAST_WORDS)
        for left in tuple(self._sessions):
            left.abort()

    # ---- for sessions

    def new_id(self) -> str:
        """An id for a session."""
        return new_session_id()

    def enter(self, session: Session) -> None:
        """A connection was made."""
        self._sessions.add(session)

    def leave(self, session: Session) -> None:
        """A session has ended."""
        self._sessions.discard(session)
        self.idle.busy(session)
        client = self._client_of.pop(session, None)
        if client is not None:
            self.services.accounts.leave(client)
            for counted in (client, network_of(client)):
                self._clients[counted] -= 1
                if not self._clients[counted]:
                    del self._clients[counted]
        self._changed.set()

    def keep(self, work: asyncio.Task[Any]) -> None:
        """Hold a hand-over until it is done, whatever becomes of its session."""
        self._handovers.add(work)
        work.add_done_callback(self._handed_over)

    def _handed_over(self, work: asyncio.Task[Any]) -> None:
        self._handovers.discard(work)
        self._changed.set()

    def admit(
        self, session: Session, connection: Connection, *, speaks_for_others: bool = False
    ) -> tuple[str, Reply] | None:
        """None: welcome. Else the observer's word and the reply to refuse it with. speaks_for_others: the peer brings
        many clients, so no client's limit holds for it."""
        limits, session_id = self.services.limits, connection.session_id
        if self.turns_away():
            return "refused_drain", reply_for("shutting-down", session_id)
        if len(self._sessions) > limits.sessions and not self._makes_room():
            return "refused_limit", reply_for("too-many-sessions", session_id)
        if self._headroom.short():
            log.warning("session %s is refused: short of memory", session_id)
            return "refused_limit", reply_for("memory-short", session_id)
        if speaks_for_others or not connection.client_known:
            return None
        network = network_of(connection.client_ip)
        if (
            self._clients[connection.client_ip] >= limits.sessions_per_client
            or self._clients[network] >= limits.sessions_per_network
        ):
            return "refused_limit", reply_for("too-many-sessions-client", session_id)
        self._clients[connection.client_ip] += 1
        self._clients[network] += 1
        self._client_of[session] = connection.client_ip
        self.services.accounts.enter(connection.client_ip)
        return None

    def note_error(self, session: Session) -> None:
        """The session's client gets a 5yz."""
        if (client := self._client_of.get(session)) is not None:
            self.services.accounts.error(client)

    def _makes_room(self) -> bool:
        # those that are told to go take a moment: not more than some above the limit meanwhile
        above = len(self._sessions) - self.services.limits.sessions
        return above <= max(1, self.services.limits.sessions // ROOM_SHARE) and self.idle.end_one()


def _next_in(queue: socket.socket) -> socket.socket | None:
    try:
        client, _ = queue.accept()
    except OSError:
        return None
    client.setblocking(False)
    return client
