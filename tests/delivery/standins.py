"""Stand-ins for mailstores that no test can run: each behaves on the wire as its product does, by code and by text.

What they do is what operators see of them: Exchange takes every RCPT and refuses after the content; Zimbra's LMTP answers
for each recipient; Microsoft 365 throttles with 451 4.7.500, wants TLS, and blocks unknown recipients with 5.4.1; Google
Workspace speaks in several lines, throttles with 421 4.7.28, and defers full and busy mailboxes.

Known gaps: texts change with the years; the codes are what our client goes by.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field


@dataclass
class Talk:
    """One connection's state."""

    encrypted: bool = False
    hello: str = ""
    reverse_path: str = ""
    recipients: list[str] = field(default_factory=list)
    open: bool = False


@dataclass(frozen=True)
class Taken:
    """A message that was accepted."""

    reverse_path: str
    recipients: tuple[str, ...]
    content: bytes
    encrypted: bool


@dataclass
class StandIn:
    """heard: every line as (encrypted, text). users: mailboxes that exist. delay: seconds it thinks about a content."""

    users: frozenset[str] = frozenset({"ann@example.com", "bob@example.com"})
    tls: ssl.SSLContext | None = None
    port: int = 0
    delay: float = 0.0
    heard: list[tuple[bool, str]] = field(default_factory=list)
    taken: list[Taken] = field(default_factory=list)
    connections: int = 0

    lmtp = False
    banner = "220 store.test ESMTP"
    words: tuple[str, ...] = ("PIPELINING", "8BITMIME", "SIZE 37748736", "ENHANCEDSTATUSCODES", "DSN")

    @property
    def commands(self) -> list[str]:
        """What was said, whether encrypted or not."""
        return [line for _, line in self.heard]

    @property
    def in_clear(self) -> list[str]:
        """What everybody on the way could read."""
        return [line for encrypted, line in self.heard if not encrypted]

    def connect(self) -> str:
        """The greeting."""
        return self.banner

    def mail(self, talk: Talk) -> str:
        """The reply to MAIL."""
        del talk
        return "250 2.1.0 Sender OK"

    def rcpt(self, talk: Talk, address: str) -> str:
        """The reply to RCPT."""
        del talk
        return "250 2.1.5 Recipient OK" if address in self.users else f"550 5.1.1 <{address}>: unknown"

    def end(self, talk: Talk) -> list[str]:
        """The reply after the content, or with LMTP one for each recipient."""
        return ["250 2.0.0 OK"] * (len(talk.recipients) if self.lmtp else 1)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        talk = Talk()
        try:
            if await _say(writer, self.connect()):
                while line := await reader.readline():
                    text = line.decode("utf-8", "replace").removesuffix("\r\n")
                    self.heard.append((talk.encrypted, text))
                    if not await self._answer(text, talk, reader, writer):
                        break
        except (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
            pass  # the test looks at what our client made of it
        finally:
            writer.close()

    async def _answer(self, text: str, talk: Talk, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        word, _, rest = text.partition(" ")
        if word in ("EHLO", "LHLO"):
            talk.open, talk.hello = False, rest
            offered = [*self.words, *(["STARTTLS"] if self.tls and not talk.encrypted else [])]
            return await _say(writer, "\n".join(f"250-{each}" for each in ["store.test", *offered]) + "\n250 HELP")
        if word == "STARTTLS" and self.tls:
            await _say(writer, "220 2.0.0 Ready to start TLS")
            await writer.start_tls(self.tls)
            talk.encrypted = True
            return True
        if word == "MAIL":
            talk.reverse_path, talk.recipients = text[11 : text.index(">")], []
            reply = self.mail(talk)
            talk.open = reply.startswith("250")
            return await _say(writer, reply)
        if word == "RCPT":
            address = text[9 : text.index(">")]
            reply = self.rcpt(talk, address) if talk.open else "503 5.5.2 Need mail command"
            talk.recipients += [address] * reply.startswith("250")
            return await _say(writer, reply)
        if word == "DATA":
            if not talk.recipients:
                return await _say(writer, "503 5.5.2 Need rcpt command")
            await _say(writer, "354 Start mail input; end with <CRLF>.<CRLF>")
            content = (await reader.readuntil(b"\r\n.\r\n"))[:-3]
            await asyncio.sleep(self.delay)
            replies = self.end(talk)
            accepted = [to for n, to in enumerate(talk.recipients) if replies[n % len(replies)].startswith("250")]
            if accepted:
                self.taken.append(Taken(talk.reverse_path, tuple(accepted), content, talk.encrypted))
            talk.open, talk.recipients = False, []
            return all([await _say(writer, reply) for reply in replies])
        if word == "QUIT":
            await _say(writer, "221 2.0.0 Bye")
            return False
        talk.open, talk.recipients = False, []
        return await _say(writer, "250 2.0.0 OK" if word == "RSET" else "502 5.3.3 Command not implemented")


async def _say(writer: asyncio.StreamWriter, reply: str) -> bool:
    """False when this reply ends the connection."""
    writer.write(reply.replace("\n", "\r\n").encode() + b"\r\n")
    await writer.drain()
    return not reply.startswith(("421", "554 5.7"))


@dataclass
class Exchange(StandIn):
    """On premises, the front end's receive connector: every RCPT is taken; what nobody has is refused after the content.
    filtered: the Recipient Filter agent on the hub's port 2525, which refuses at RCPT."""

    filtered: bool = False
    words = ("SIZE 37748736", "PIPELINING", "DSN", "ENHANCEDSTATUSCODES", "AUTH NTLM", "8BITMIME", "BINARYMIME",
             "CHUNKING", "SMTPUTF8", "XRDST")  # fmt: skip
    banner = "220 EX1.corp.example Microsoft ESMTP MAIL Service ready at Mon, 2 Nov 2026 10:00:00 +0000"

    def rcpt(self, talk: Talk, address: str) -> str:
        if self.filtered and address not in self.users:
            return "550 5.1.1 User unknown"
        return "250 2.1.5 Recipient OK"

    def end(self, talk: Talk) -> list[str]:
        if self.users.isdisjoint(talk.recipients):
            return ["550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup"]
        return ["250 2.6.0 <1@example.org> [InternalId=4711, Hostname=EX1.corp.example] Queued mail for delivery"]


@dataclass
class ZimbraLmtp(StandIn):
    """The store's LMTP port 7025: a reply for each recipient. full: mailboxes over quota."""

    full: frozenset[str] = frozenset()
    lmtp = True
    words = ("ENHANCEDSTATUSCODES", "8BITMIME", "SIZE", "PIPELINING")
    banner = "220 zimbra.example Zimbra LMTP server ready"

    def rcpt(self, talk: Talk, address: str) -> str:
        return "250 2.1.5 Recipient OK" if address in self.users else "550 5.1.1 No such user here"

    def end(self, talk: Talk) -> list[str]:
        return ["452 4.2.2 Over quota" if to in self.full else "250 2.1.5 Delivery OK" for to in talk.recipients]


@dataclass
class ZimbraMta(StandIn):
    """Zimbra's Postfix on port 25: unknown ones refused at RCPT, its after-queue filter deferring when it is away."""

    words = ("PIPELINING", "SIZE 10240000", "VRFY", "ETRN", "ENHANCEDSTATUSCODES", "8BITMIME", "DSN")
    banner = "220 zimbra.example ESMTP Postfix"

    def rcpt(self, talk: Talk, address: str) -> str:
        if address not in self.users:
            return f"550 5.1.1 <{address}>: Recipient address rejected: {address.partition('@')[2]}"
        return "250 2.1.5 Ok"


THROTTLED = "451 4.7.500 Server busy. Please try again later from [192.0.2.9]. (S77719) [XX1EUR01FT002.example]"
CONNECTOR = (
    "550 5.7.51 TenantInboundAttribution; There is a partner connector configured that matched the message's recipient"
)


@dataclass
class Microsoft365(StandIn):
    """throttled: where it says 451 4.7.500 (MAIL, RCPT, end). demands: what it says to MAIL without TLS, such as
    530 5.7.0 or 451 5.7.3. locked: the partner connector knows neither our address nor our certificate."""

    throttled: str = ""
    demands: str = ""
    locked: bool = False
    words = ("SIZE 157286400", "PIPELINING", "DSN", "ENHANCEDSTATUSCODES", "8BITMIME", "BINARYMIME", "CHUNKING",
             "SMTPUTF8")  # fmt: skip
    banner = "220 XX1EUR01FT002.mail.protection.outlook.example Microsoft ESMTP MAIL Service ready"

    def mail(self, talk: Talk) -> str:
        if self.demands and not talk.encrypted:
            return self.demands
        return THROTTLED if self.throttled == "MAIL" else "250 2.1.0 Sender OK"

    def rcpt(self, talk: Talk, address: str) -> str:
        if self.throttled == "RCPT":
            return THROTTLED
        if address not in self.users:
            return "550 5.4.1 Recipient address rejected: Access denied. [XX1EUR01FT002.example 2026-11-02]"
        return CONNECTOR if self.locked else "250 2.1.5 Recipient OK"

    def end(self, talk: Talk) -> list[str]:
        if self.throttled == "end":
            return [THROTTLED]
        return ["250 2.6.0 <1@example.org> [InternalId=4711, Hostname=XX1EUR01.example] Queued mail for delivery"]


@dataclass
class GoogleWorkspace(StandIn):
    """rate: where it says 421 4.7.28 and closes (connect, MAIL, end). full, busy: mailboxes that are deferred."""

    rate: str = ""
    full: frozenset[str] = frozenset()
    busy: frozenset[str] = frozenset()
    words = ("SIZE 157286400", "8BITMIME", "ENHANCEDSTATUSCODES", "PIPELINING", "CHUNKING", "SMTPUTF8")
    banner = "220 mx.google.example ESMTP a1b2c3 - gsmtp"

    RATE = (
        "421-4.7.28 [192.0.2.9] Our system has detected an unusual rate of\n"
        "421-4.7.28 unsolicited mail originating from your IP address.\n"
        "421 4.7.28  a1b2c3 - gsmtp"
    )

    def connect(self) -> str:
        return self.RATE if self.rate == "connect" else self.banner

    def mail(self, talk: Talk) -> str:
        if self.tls and not talk.encrypted:
            return "530 5.7.0 Must issue a STARTTLS command first. a1b2c3 - gsmtp"
        return self.RATE if self.rate == "MAIL" else "250 2.1.0 OK a1b2c3 - gsmtp"

    def rcpt(self, talk: Talk, address: str) -> str:
        if address in self.full:
            return "452-4.2.2 The email account that you tried to reach is over quota.\n452 4.2.2  a1b2c3 - gsmtp"
        if address in self.busy:
            return (
                "450-4.2.1 The user you are trying to contact is receiving mail at a rate that\n450 4.2.1  a1 - gsmtp"
            )
        if address not in self.users:
            return "550-5.1.1 The email account that you tried to reach does not exist.\n550 5.1.1  a1b2c3 - gsmtp"
        return "250 2.1.5 OK a1b2c3 - gsmtp"

    def end(self, talk: Talk) -> list[str]:
        return [self.RATE if self.rate == "end" else "250 2.0.0 OK  1793613600 a1b2c3 - gsmtp"]


@asynccontextmanager
async def running(stand_in: StandIn) -> AsyncIterator[None]:
    """Serve on a loopback port: its own, once it has one."""
    writers: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        await stand_in.serve(reader, writer)
        writers.discard(writer)

    server = await asyncio.start_server(serve, "127.0.0.1", stand_in.port)
    stand_in.port = server.sockets[0].getsockname()[1]
    try:
        yield
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0)


@contextmanager
def beside(*stand_ins: StandIn) -> Iterator[None]:
    """Serve in a thread, for tests in plain words that talk to a node."""
    begun, end = threading.Event(), threading.Event()

    async def run() -> None:
        async with AsyncExitStack() as stack:
            for stand_in in stand_ins:
                await stack.enter_async_context(running(stand_in))
            begun.set()
            await asyncio.to_thread(end.wait)

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    try:
        assert begun.wait(20), "the stand-ins do not run"
        yield
    finally:
        end.set()
        thread.join(20)
