"""A scripted mailstore: a small SMTP or LMTP server that does as it is told and records what it hears.

A script says, by command word, what to answer; a reply is text (lines without CRLF, joined by newlines), ``Hang``,
``Close`` or a list of them (one a use, the last one stays). Content is unstuffed as RFC 5321 section 4.5.2 says.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Hang:
    """Say nothing until the test ends."""


@dataclass(frozen=True)
class Close:
    """Close the connection, after saying this ('' nothing)."""

    after: str = ""


@dataclass(frozen=True)
class Slow:
    """Say it after so many seconds."""

    seconds: float
    reply: str


Answer = str | Hang | Close | Slow
Script = Mapping[str, Answer | list[Answer]]

DEFAULT: dict[str, Answer] = {
    "connect": "220 store.test ESMTP",
    "EHLO": "250-store.test\n250-PIPELINING\n250-8BITMIME\n250-SIZE 0\n250 ENHANCEDSTATUSCODES",
    "MAIL": "250 2.1.0 ok",
    "RCPT": "250 2.1.5 ok",
    "DATA": "354 go on",
    "dot": "250 2.0.0 queued as 4711",
    "RSET": "250 2.0.0 ok",
    "XCLIENT": "220 store.test ESMTP",
    "STARTTLS": "220 2.0.0 ready",
    "QUIT": "221 2.0.0 bye",
}


@dataclass
class ScriptedStore:
    """port: where it listens (or path). sessions: commands of each connection in order. contents: what came between
    DATA and the dot, unstuffed. reads: command lines which came in one segment. ``by_recipient`` overrides RCPT."""

    script: dict[str, Answer | list[Answer]]
    by_recipient: Mapping[str, Answer] = field(default_factory=dict)
    dots: Mapping[str, Answer] = field(default_factory=dict)
    lmtp: bool = False
    tls: ssl.SSLContext | None = None
    cut_content_after: int | None = None
    sessions: list[list[str]] = field(default_factory=list)
    contents: list[bytes] = field(default_factory=list)
    port: int = 0
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    dot_seen: asyncio.Event = field(default_factory=asyncio.Event)
    release: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def commands(self) -> list[str]:
        """All commands of all sessions."""
        return [command for session in self.sessions for command in session]

    def answer(self, word: str) -> Answer:
        """The next answer for a word of the script."""
        found = self.script.get(word, DEFAULT.get(word, "502 5.5.1 not known"))
        if isinstance(found, list):
            return found.pop(0) if len(found) > 1 else found[0]
        return found

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        heard: list[str] = []
        self.sessions.append(heard)
        self.writers.append(writer)
        try:
            await self._dialog(reader, writer, heard)
        except (ConnectionError, asyncio.IncompleteReadError, _Ended):
            pass
        finally:
            writer.close()

    async def _dialog(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, heard: list[str]) -> None:
        await self._say(writer, self.answer("connect"))
        accepted: list[str] = []
        while line := await reader.readline():
            text = line.decode("utf-8", "surrogateescape").removesuffix("\r\n")
            heard.append(text)
            word = text.split(" ")[0].upper()
            if word == "LHLO":
                word = "EHLO"
            answer = self.answer(word)
            if word == "RCPT":
                answer = self.by_recipient.get(text[len("RCPT TO:<") : text.rindex(">")], answer)
            said = await self._say(writer, answer)
            if word in ("MAIL", "RSET", "EHLO", "XCLIENT"):
                accepted = []
            elif word == "RCPT" and said.startswith("25"):
                accepted.append(text[len("RCPT TO:<") : text.rindex(">")])
            elif word == "DATA" and said.startswith("354"):
                await self._content(reader, writer, accepted)
                accepted = []
            elif word == "STARTTLS" and said.startswith("220"):
                assert self.tls
                await writer.start_tls(self.tls)
            elif word == "QUIT":
                return

    async def _content(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, accepted: list[str]) -> None:
        got = bytearray()
        while not (got == b".\r\n" or got.endswith(b"\r\n.\r\n")):
            piece = await reader.read(1024)
            if not piece:
                raise _Ended
            got += piece
            if self.cut_content_after is not None and len(got) > self.cut_content_after:
                await self._say(writer, self.answer("cut"))
        body = bytes(got[:-3])
        if body.startswith(b"."):
            body = body[1:]
        self.contents.append(body.replace(b"\r\n.", b"\r\n"))
        self.dot_seen.set()
        if self.lmtp:
            for recipient in accepted:
                await self._say(writer, self.dots.get(recipient, self.answer("dot")))
        else:
            await self._say(writer, self.answer("dot"))

    async def _say(self, writer: asyncio.StreamWriter, answer: Answer) -> str:
        if isinstance(answer, Hang):
            await self.release.wait()
            raise _Ended
        if isinstance(answer, Close):
            if answer.after:
                writer.write(answer.after.replace("\n", "\r\n").encode() + b"\r\n")
                await writer.drain()
            raise _Ended
        if isinstance(answer, Slow):
            await asyncio.sleep(answer.seconds)
            answer = answer.reply
        writer.write(answer.replace("\n", "\r\n").encode() + b"\r\n")
        await writer.drain()
        return answer

    def drop_all(self) -> None:
        """Cut every connection, as a restarted server does."""
        for writer in self.writers:
            writer.transport.abort()


class _Ended(Exception):
    """The script ends the connection."""


@asynccontextmanager
async def scripted(
    script: Script | None = None,
    *,
    by_recipient: Mapping[str, Answer] | None = None,
    dots: Mapping[str, Answer] | None = None,
    lmtp: bool = False,
    tls: ssl.SSLContext | None = None,
    path: str = "",
    cut_content_after: int | None = None,
) -> AsyncIterator[ScriptedStore]:
    """A running store on an ephemeral loopback port (or a socket file)."""
    store = ScriptedStore(dict(script or {}), by_recipient or {}, dots or {}, lmtp, tls, cut_content_after)
    if path:
        server = await asyncio.start_unix_server(store.serve, path)
    else:
        server = await asyncio.start_server(store.serve, "127.0.0.1", 0)
        store.port = server.sockets[0].getsockname()[1]
    try:
        yield store
    finally:
        store.release.set()
        server.close()
        store.drop_all()
        await asyncio.sleep(0)
