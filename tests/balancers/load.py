"""A constant load through a balancer, as honest senders make it: what was not answered 250 is sent again.

A message whose reply was lost comes again after ``PATIENCE`` seconds (senders take minutes): for so long the ledger of the
nodes cannot know whether another node is still handing it over, and would ask to come later.
"""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections import Counter, deque
from types import TracebackType

from nodes import message

PATIENCE = 6.0
PAUSE = 0.1
"""Seconds between two sessions of a sender."""


class Lost(Exception):
    """The connection went away."""


class Talk:
    """One session; ``ask`` returns the code of the reply."""

    def __init__(self, port: int) -> None:
        try:
            self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        except OSError as error:
            raise Lost from error
        self.file = self.socket.makefile("rb")

    def ask(self, command: bytes) -> int:
        try:
            if command:
                self.socket.sendall(command + b"\r\n")
            while True:
                line = self.file.readline()
                if not line.endswith(b"\r\n"):
                    raise Lost
                if line[3:4] != b"-":
                    return int(line[:3])
        except OSError as error:
            raise Lost from error

    def close(self) -> None:
        self.file.close()
        self.socket.close()


class Load:
    """``with Load(port) as load: ...``: so many senders, until the end of the block; then what is owed is sent."""

    def __init__(self, port: int, senders: int) -> None:
        self.port = port
        self.answered: set[str] = set()
        """Message-IDs whose sender heard 250."""
        self.unanswered: set[str] = set()
        """Message-IDs whose sender had sent all content and heard nothing, once at least."""
        self.refusals: Counter[int] = Counter()
        self.lost = 0
        self.failure: Exception | None = None
        self._owed: deque[str] = deque()
        self._names = (f"{number}@sender.example" for number in itertools.count())
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._senders = [threading.Thread(target=self._work, daemon=True) for _ in range(senders)]

    def _work(self) -> None:
        try:
            while not self._ending.is_set():
                self._session([self._next() for _ in range(3)])
                self._ending.wait(PAUSE)
        except Exception as error:
            self.failure = error
            raise

    def _next(self) -> str:
        with self._lock:
            return self._owed.popleft() if self._owed else next(self._names)

    def _session(self, names: list[str]) -> None:
        """Send these in one session; those that were not answered 250 are owed again."""
        owed = list(names)
        try:
            talk = Talk(self.port)
            try:
                if self._said(talk, b"", 220) and self._said(talk, b"EHLO client.example", 250):
                    while owed and self._sent(talk, owed[0]):
                        self.answered.add(owed.pop(0))
                    if not owed:
                        talk.ask(b"QUIT")
            finally:
                talk.close()
        except Lost:
            self.lost += 1
        with self._lock:
            self._owed.extend(name for name in owed if name not in self.unanswered)

    def _said(self, talk: Talk, command: bytes, wanted: int) -> bool:
        code = talk.ask(command)
        if code != wanted:
            self.refusals[code] += 1
        return code == wanted

    def _sent(self, talk: Talk, name: str) -> bool:
        envelope = ((b"MAIL FROM:<a@sender.example>", 250), (b"RCPT TO:<user@example.com>", 250), (b"DATA", 354))
        if not all(self._said(talk, command, wanted) for command, wanted in envelope):
            return False
        try:
            return self._said(talk, message(name) + b".", 250)
        except Lost:
            self.unanswered.add(name)
            raise

    def wait(self, messages: int) -> None:
        """Until so many more were answered."""
        goal = len(self.answered) + messages
        for _ in range(3000):
            if len(self.answered) >= goal or self.failure:
                break
            self._ending.wait(0.01)
        assert len(self.answered) >= goal, (self.failure, self.refusals, self.lost)

    def seen(self) -> tuple[set[int], int]:
        """Refusals and lost connections since the last question."""
        said = (set(self.refusals), self.lost)
        self.refusals.clear()
        self.lost = 0
        return said

    def __enter__(self) -> Load:
        for sender in self._senders:
            sender.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        self._ending.set()
        for sender in self._senders:
            sender.join(60)
        if kind is None:
            self._send_what_is_owed()

    def _send_what_is_owed(self) -> None:
        if self.unanswered:
            time.sleep(PATIENCE)
        for name in (*self._owed, *self.unanswered):
            self._session([name])
            assert name in self.answered, "the second attempt must do"
