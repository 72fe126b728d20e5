"""A session with a mailstore: greeting, EHLO or LHLO, STARTTLS, XCLIENT; afterwards ready for transactions.

In: a MailstoreUrl with its TLS context, a deadline. Out: a :class:`Session`; every failure is a PortFailure, for
nothing of a message was sent yet.

Known gaps: no fall-back to HELO: every mailstore of this century speaks EHLO.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gateway.delivery import xclient
from gateway.delivery.url import MailstoreUrl
from gateway.delivery.wire import ClosingReply, ConnectionLost, Deadline, ServerReply, Timeouts, TlsFailure, Wire
from gateway.mail.finding import Why
from gateway.ports.failure import PortFailure
from gateway.ports.observer import Observer


@dataclass(frozen=True, slots=True)
class Dialect:
    """How to talk to one mailstore: where, as whom, with which TLS and patience."""

    url: MailstoreUrl
    hostname: str
    tls: ssl.SSLContext
    timeouts: Timeouts
    observer: Observer

    @property
    def lmtp(self) -> bool:
        """LHLO, and a reply for each recipient (RFC 2033)."""
        return self.url.scheme in ("lmtp", "lmtp+unix")


def tls_context(url: MailstoreUrl) -> ssl.SSLContext:
    """The client's TLS context; reads the files of CA, certificate and key. Raises ValueError with a remedy."""
    try:
        context = ssl.create_default_context(cafile=url.ca or None)
    except (OSError, ssl.SSLError) as error:
        raise ValueError(f"{url}: cannot read ca={url.ca} ({error}); give a file of PEM certificates") from error
    if url.cert:
        try:
            # a passphrase would be asked for on the terminal; no node has one
            context.load_cert_chain(url.cert, url.key, password="")
        except (OSError, ssl.SSLError) as error:
            raise ValueError(
                f"{url}: cannot use cert={url.cert} with key={url.key} ({error}); give PEM files that belong together, "
                "the key without a passphrase"
            ) from error
    if url.tls != "verify":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED if url.tls == "verify-ca" else ssl.CERT_NONE
    return context


_PHASES: Final = {
    "greeting": "greeting",
    "EHLO": "hello",
    "LHLO": "hello",
    "STARTTLS": "starttls",
    "XCLIENT": "xclient",
    "MAIL": "mail",
    "RCPT": "rcpt",
    "DATA": "data",
    "content": "data",
    "final dot": "dot",
}
"""What a reply was to -> the observer's word."""


class Session:
    """One greeted connection. Mutable by nature: it follows what was said. Not for two tasks at once."""

    def __init__(self, dialect: Dialect, wire: Wire) -> None:
        self.dialect = dialect
        self.wire = wire
        self._label = str(dialect.url)
        self.greeting = ""
        self.extensions: Mapping[str, str] = {}
        self.encrypted = False
        self.client: xclient.Attributes | None = None  # told by XCLIENT, valid until told anew
        self.dirty = False  # a transaction was begun and not ended: RSET before the next
        self.transactions = 0
        self.begun = False  # MAIL was answered since it was taken from the pool
        self.answered = False  # has replied since it was taken from the pool
        self.idle_since = 0.0

    def offers(self, extension: str) -> bool:
        """Whether the EHLO reply lists it (upper case)."""
        return extension in self.extensions

    def serves(self, client: xclient.Attributes | None) -> bool:
        """Whether a transaction on behalf of this client (None: our own) can begin here. Postfix offers XCLIENT by the
        address that it was told last, so a session often speaks for one client only."""
        if self.dialect.url.xclient == "off" or self.client in (None, client):
            return True
        return client is not None and self.offers("XCLIENT")

    async def reply(self, deadline: Deadline, name: str, limit: float | None = None) -> ServerReply:
        """One reply. 421 means that the connection is about to close: ClosingReply."""
        async with deadline.phase(name, limit or self.dialect.timeouts.command):
            reply = await self.wire.reply()
        self.dialect.observer.mailstore_reply(self._label, _PHASES.get(name, "other"), reply.code)
        if reply.code == 421:
            raise ClosingReply(reply)
        self.answered = True
        self.begun = self.begun or name == "MAIL"
        return reply

    async def command(self, line: bytes, deadline: Deadline) -> ServerReply:
        """Say one line (with CRLF) and read its reply."""
        name = line.split(b" ", 1)[0].strip().decode("ascii")
        async with deadline.phase(name, self.dialect.timeouts.command):
            await self.wire.send(line)
        return await self.reply(deadline, name)

    async def hello(self, deadline: Deadline) -> None:
        """EHLO or LHLO; forgets what was offered before."""
        verb = "LHLO" if self.dialect.lmtp else "EHLO"
        reply = await self.command(f"{verb} {self.dialect.hostname}\r\n".encode("ascii"), deadline)
        if reply.code != 250:
            raise PortFailure("mailstore", Why.REFUSED, f"{verb}: {reply}")
        words = (line.strip().partition(" ") for line in reply.lines[1:])
        self.extensions = {key.upper(): value for key, _, value in words if key}
        self.dirty = False

    async def probe(self, deadline: Deadline) -> None:
        """Whether it answers to MAIL at all, whatever the answer. Raises PortFailure, and cuts the connection then."""
        try:
            for line in (b"MAIL FROM:<>\r\n", b"RSET\r\n"):
                await self.command(line, deadline)
        except PortFailure:
            self.wire.abort()
            raise

    async def introduce(self, client: xclient.Attributes, deadline: Deadline) -> None:
        """Tell who the client is, if that is wanted and offered. Raises PortFailure where the mailstore refuses it:
        to go on would pass the message off as our own, and with ``require`` where it is not offered."""
        if self.dialect.url.xclient == "off" or self.client == client:
            return
        lines = xclient.commands(client, self.extensions.get("XCLIENT", "").upper().split())
        if not lines:
            if self.client is not None:
                raise PortFailure("mailstore", Why.REFUSED, "this session speaks for another client")
            if self.dialect.url.xclient == "require":
                raise PortFailure("mailstore", Why.REFUSED, "XCLIENT is required and not offered to this host")
            return
        if self.dirty:
            # XCLIENT is never said inside a transaction (XCLIENT_README)
            await self.command(b"RSET\r\n", deadline)
            self.dirty = False
        for line in lines:
            reply = await self.command(line, deadline)
            if not reply.positive:
                raise PortFailure("mailstore", Why.REFUSED, f"configuration: XCLIENT is offered but answered {reply}")
            # 220 starts the session over (XCLIENT_README); a server that says 250 has taken note and goes on
            if reply.code == 220:
                await self.hello(deadline)
        self.client = client

    async def starttls(self, deadline: Deadline) -> None:
        """STARTTLS as the URL demands. Raises TlsFailure or PortFailure(refused)."""
        mode = self.dialect.url.tls
        if mode == "off":
            return
        refusal = "not offered"
        if self.offers("STARTTLS"):
            reply = await self.command(b"STARTTLS\r\n", deadline)
            if reply.code == 220:
                await self._handshake(deadline)
                try:
                    await self.hello(deadline)
                except ConnectionLost as lost:
                    # TLS 1.3: that a server refuses our certificate is seen only by its alert after the handshake
                    raise TlsFailure(f"after the handshake: {lost.cause.detail}") from lost
                return
            refusal = str(reply)
        if mode != "opportunistic":
            raise PortFailure("mailstore", Why.REFUSED, f"tls={mode} but STARTTLS: {refusal}")

    async def _handshake(self, deadline: Deadline) -> None:
        url, observer = self.dialect.url, self.dialect.observer
        try:
            async with deadline.phase("TLS handshake", self.dialect.timeouts.command):
                version = await self.wire.start_tls(self.dialect.tls, url.name or url.host or "localhost")
        except TlsFailure:
            observer.tls_handshake("out", "", "handshake_error")
            raise
        except PortFailure as failure:
            observer.tls_handshake("out", "", "timeout")
            raise TlsFailure(failure.cause.detail, failure.cause.why) from failure
        self.encrypted = True
        observer.tls_handshake("out", version, "ok")


async def open_session(dialect: Dialect, deadline: Deadline) -> Session:
    """Connect and get as far as STARTTLS and EHLO. Raises PortFailure. With opportunistic TLS a failed handshake is
    followed by one attempt in clear (RFC 7435: some protection some of the time)."""
    try:
        return await _open(dialect, deadline, encrypt=True)
    except TlsFailure:
        if dialect.url.tls != "opportunistic":
            raise
    return await _open(dialect, deadline, encrypt=False)


async def _open(dialect: Dialect, deadline: Deadline, *, encrypt: bool) -> Session:
    async with deadline.phase("connect", dialect.timeouts.connect):
        wire = await Wire.connect(dialect.url)
    session = Session(dialect, wire)
    ready = False
    try:
        greeting = await session.reply(deadline, "greeting")
        if greeting.code != 220:
            raise PortFailure("mailstore", Why.REFUSED, f"greeting: {greeting}")
        session.greeting = greeting.text
        await session.hello(deadline)
        if encrypt:
            await session.starttls(deadline)
        ready = True
        return session
    finally:
        if not ready:
            wire.abort()
