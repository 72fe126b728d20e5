"""A constant load on one node while its Redis suffers: who comes, what they heard, how long they waited.

Four kinds of clients take turns: two strangers (greylisting tells them to come again), one that passed before (always
let in), one above its limit of messages (always told to come later).
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from typing import Any

FRIENDS = 4
KINDS = ("new", "known", "new", "flood")
MESSAGE = b"From: a@sender.example\r\nTo: user@example.com\r\nSubject: x\r\nMessage-ID: <%d@x.example>\r\n\r\nx\r\n.\r\n"

CHECKS: dict[str, Any] = {
    **{name: {"enabled": False} for name in ("iprev", "spf", "dkim", "dmarc", "arc", "helo", "dnsbl")},
    "greylist": {"mode": "all", "delay_all": 1.0, "exempt_clients": [], "auto_allow_after": 0},
    "rate": {
        "connections": 0, "messages": 0, "recipients": 0, "errors": 0, "sessions": 0,
        "client": {"messages": 1, "window": 86400, "sessions": 0}, "exempt": ["127.128.0.0/9", "127.61.0.0/16"],
    },
}  # fmt: skip
"""Nothing asks DNS. Only the flooding client has a limit, of one message a day."""


@dataclass
class Session:
    """codes: all replies; last: to RCPT or the end of data; slowest: seconds of the slowest step. began: monotonic."""

    kind: str
    who: str
    began: float
    codes: list[int] = field(default_factory=list)
    last: int = 0
    slowest: float = 0.0
    fault: str = ""


class StoreLoad:
    """``with StoreLoad(port, rate) as load``: so many sessions a second from a thread of its own."""

    _numbers = count()

    def __init__(self, port: int, rate: float = 16.0) -> None:
        self._port = port
        self._pause = 1.0 / rate
        self.sessions: list[Session] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> StoreLoad:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(30)

    def of(self, kind: str, begin: float = 0.0, end: float = float("inf")) -> list[Session]:
        """Ended sessions of a kind that began in a time."""
        return [one for one in list(self.sessions) if one.kind == kind and begin <= one.began < end]

    def codes(self, kind: str, begin: float = 0.0, end: float = float("inf")) -> Counter[int]:
        """Their last replies."""
        return Counter(one.last for one in self.of(kind, begin, end))

    async def _run(self) -> None:
        running: set[asyncio.Task[None]] = set()
        due = time.monotonic()
        while not self._end.is_set():
            number = next(self._numbers)
            task = asyncio.create_task(self._session(KINDS[number % len(KINDS)], number))
            running.add(task)
            task.add_done_callback(running.discard)
            due += self._pause
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        await asyncio.gather(*running)

    async def _session(self, kind: str, number: int) -> None:
        source = {
            "new": f"127.{128 + number // 250 % 100}.{number % 250}.1",
            "known": f"127.61.{number // len(KINDS) % FRIENDS}.1",
            "flood": "127.62.0.1",
        }[kind]  # a network of its own for each: so the keys of greylisting differ
        session = Session(kind, f"{kind}{number}@sender.example", time.monotonic())
        try:
            await asyncio.wait_for(self._talk(session, source, number), 30)
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            session.fault = repr(error)
        self.sessions.append(session)

    async def _talk(self, session: Session, source: str, number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, local_addr=(source, 0))

        async def step(octets: bytes) -> int:
            begun = time.monotonic()
            writer.write(octets)
            while (line := await reader.readuntil(b"\r\n"))[3:4] == b"-":
                pass
            session.slowest = max(session.slowest, time.monotonic() - begun)
            session.codes.append(int(line[:3]))
            return session.codes[-1]

        try:
            for octets in (
                b"", b"EHLO client.example\r\n", f"MAIL FROM:<{session.who}>\r\n".encode(),
                b"RCPT TO:<user@example.com>\r\n", b"DATA\r\n", MESSAGE % number,
            ):  # fmt: skip
                session.last = await step(octets)
                if session.last >= 400:
                    break
            await step(b"QUIT\r\n")
        finally:
            writer.close()
