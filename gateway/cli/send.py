"""``mxgw send``: one message over SMTP, with every step of the dialog shown. A tool to try a node, not a relay.

The server's certificate is not verified: the question here is whether it answers, not whether it can be trusted.

Known gaps: no authentication, no pipelining, no BDAT.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, make_msgid
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli.output import CommandError, output_argument, show_json, unusable
from gateway.cli.sysexits import NEGATIVE, OK, TEMPFAIL, UNAVAILABLE, USAGE

if TYPE_CHECKING:
    from gateway.mail.address import Mailbox


def arguments(parser: argparse.ArgumentParser) -> None:
    """Who, whence, what and how."""
    parser.add_argument("--to", required=True, action="append", metavar="ADDRESS", help="recipient; may be repeated")
    parser.add_argument("--from", dest="reverse_path", metavar="ADDRESS", help="reverse-path; '' is the null one")
    parser.add_argument("--server", default="127.0.0.1:2525", metavar="HOST:PORT", help="default 127.0.0.1:2525")
    parser.add_argument("--file", type=Path, metavar="MSG.EML", help="content; else --subject and --body make one")
    parser.add_argument("--subject", default="mxgw send")
    parser.add_argument("--body", default="A test message.")
    parser.add_argument("--helo", metavar="NAME", help="name in EHLO; default: this machine's")
    parser.add_argument("--tls", action=argparse.BooleanOptionalAction, help="STARTTLS; default: where it is offered")
    parser.add_argument("--size", type=int, metavar="OCTETS", help="fill the content up to this size")
    parser.add_argument("--timeout", type=float, default=60.0, metavar="SECONDS", help="for each reply; default 60")
    output_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Send and tell. 0 on 250, 1 on 5yz, 75 on 4yz, 69 when nobody answers."""
    from gateway.mail.address import AddressError, parse_mailbox

    try:
        recipients = [parse_mailbox(text) for text in args.to]
        helo = args.helo or socket.getfqdn()
        reverse_path = f"postmaster@{helo}" if args.reverse_path is None else args.reverse_path
        author = parse_mailbox(reverse_path) if reverse_path else None
    except AddressError as error:
        raise CommandError(USAGE, f"not an address: {error}") from error
    host, _, port = args.server.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise CommandError(USAGE, f"--server must be HOST:PORT, not {args.server}")
    content = _content(args, author, recipients)
    client = Client(helo, args.timeout, args.tls, quiet=args.output == "json")
    try:
        asyncio.run(client.send(host.strip("[]"), int(port), author, recipients, content))
    except (OSError, ssl.SSLError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        if args.output == "text":
            raise CommandError(UNAVAILABLE, f"{args.server}: {_cause(error)}") from error
        show_json("send", {"exit": UNAVAILABLE, "reply": "", "error": _cause(error), "dialog": client.dialog})
        return UNAVAILABLE
    code = client.exit_code
    if args.output == "json":
        show_json("send", {"exit": code, "reply": client.final, "dialog": client.dialog})
    return code


def _cause(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, asyncio.IncompleteReadError):
        return "the connection was closed before the reply"
    number = getattr(error, "errno", None)
    if isinstance(number, int) and number > 0 and not isinstance(error, ssl.SSLError):
        return os.strerror(number)  # asyncio's own text names only the address
    return str(getattr(error, "strerror", "") or error)


def _content(args: argparse.Namespace, author: Mailbox | None, recipients: Sequence[Mailbox]) -> bytes:
    """The octets of the content in CRLF form."""
    if args.file:
        try:
            octets = args.file.read_bytes()
        except OSError as error:
            raise unusable(error, args.file) from error
    else:
        message = EmailMessage(policy=SMTP.clone(utf8=any(not str(mailbox).isascii() for mailbox in recipients)))
        try:
            message["From"] = str(author or recipients[0])
            message["To"] = ", ".join(str(mailbox) for mailbox in recipients)
            message["Subject"] = args.subject
        except ValueError as error:
            raise CommandError(USAGE, str(error)) from error
        message["Date"] = formatdate(localtime=True)
        message["Message-ID"] = make_msgid(domain="mxgw.invalid")
        message.set_content(args.body.rstrip("\n") + "\n")
        octets = message.as_bytes()
    octets = re.sub(rb"\r\n|\r|\n", b"\r\n", octets)
    if not octets.endswith(b"\r\n"):
        octets += b"\r\n"
    missing = (args.size or 0) - len(octets)
    if missing > 0:
        line = b"x" * 70 + b"\r\n"
        octets += line * (missing // len(line))
        rest = missing % len(line)
        octets += b"x" * (rest - 2) + b"\r\n" if rest >= 2 else b""
    return octets


@dataclass
class Client:
    """One SMTP session (RFC 5321 section 3) that keeps what was said. tls: None takes STARTTLS where it is offered."""

    helo: str
    timeout: float
    tls: bool | None
    quiet: bool = False
    dialog: list[str] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    final: str = ""
    _reader: asyncio.StreamReader = field(init=False)
    _writer: asyncio.StreamWriter = field(init=False)

    @property
    def exit_code(self) -> int:
        """From the replies to RCPT and to the content, the worst."""
        if any(code >= 500 for code in self.codes):
            return NEGATIVE
        return TEMPFAIL if any(code >= 400 for code in self.codes) else OK

    async def send(
        self, host: str, port: int, author: Mailbox | None, recipients: Sequence[Mailbox], content: bytes
    ) -> None:
        """The whole session. Raises OSError, TimeoutError or IncompleteReadError when the peer is not there."""
        async with asyncio.timeout(self.timeout):
            self._reader, self._writer = await asyncio.open_connection(host, port)
        try:
            await self._session(author, recipients, content)
        finally:
            self._writer.close()

    async def _session(self, author: Mailbox | None, recipients: Sequence[Mailbox], content: bytes) -> None:
        if not await self._passes(await self._reply(), 220):
            return
        words = await self._hello()
        if words is None:
            return
        if self.tls or (self.tls is None and "STARTTLS" in words):
            if not await self._passes(await self._say("STARTTLS"), 220):
                return
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            async with asyncio.timeout(self.timeout):
                await self._writer.start_tls(context)
            self._note(f"== {self._writer.get_extra_info('ssl_object').version()}")
            words = await self._hello()
            if words is None:
                return
        addresses = [author, *recipients] if author else list(recipients)
        parameters = f" SIZE={len(content)}" if "SIZE" in words else ""
        parameters += " BODY=8BITMIME" if "8BITMIME" in words and not content.isascii() else ""
        parameters += " SMTPUTF8" if any(mailbox.needs_smtputf8 for mailbox in addresses) else ""
        if not await self._passes(await self._say(f"MAIL FROM:<{author or ''}>{parameters}"), 250):
            return
        accepted = 0
        for mailbox in recipients:
            reply = await self._say(f"RCPT TO:<{mailbox}>")
            self._judge(reply)
            accepted += reply.startswith("25")
        if accepted:
            reply = await self._say("DATA")
            if reply.startswith("354"):
                self._note(f"-> ({len(content)} octets)")
                self._writer.write(re.sub(rb"(?m)^\.", b"..", content) + b".\r\n")
                reply = await self._reply()
            self._judge(reply)
        await self._say("QUIT")

    async def _hello(self) -> set[str] | None:
        reply = await self._say(f"EHLO {self.helo}")
        if not await self._passes(reply, 250):
            return None
        return {line[4:].split(" ")[0].upper() for line in reply.splitlines()[1:]}

    async def _passes(self, reply: str, code: int) -> bool:
        """True for the expected code; else the reply is the outcome and the session ends politely."""
        if reply.startswith(str(code)):
            return True
        self._judge(reply)
        if not reply.startswith("421"):
            await self._say("QUIT")
        return False

    def _judge(self, reply: str) -> None:
        self.final = reply
        self.codes.append(int(reply[:3]))

    async def _say(self, command: str) -> str:
        self._note(f"-> {command}")
        self._writer.write(command.encode("utf-8") + b"\r\n")
        return await self._reply()

    async def _reply(self) -> str:
        lines: list[str] = []
        async with asyncio.timeout(self.timeout):
            await self._writer.drain()
            while not lines or lines[-1][3:4] == "-":
                octets = await self._reader.readuntil(b"\n")
                line = octets.rstrip(b"\r\n").decode("utf-8", "backslashreplace")
                if not line[:3].isdecimal():
                    raise OSError(f"not an SMTP reply: {line[:60]!r}")
                lines.append(line)
                self._note(f"<- {line}")
        return "\n".join(lines)

    def _note(self, line: str) -> None:
        self.dialog.append(line)
        if not self.quiet:
            print(line, flush=True)
