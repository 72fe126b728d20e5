"""Log lines on standard output: one JSON object a line, or one line for people; never waits on the event loop.

A thread writes; between it and the loop stands a bounded queue. Where the reader of standard output does not keep up,
lines are dropped and counted, mail goes on. All processes of a node write to the same standard output: each batch of
whole lines goes out under one file lock, so lines never mix.

Known gaps: lines that are equal are not folded into one.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

CAPACITY: Final = 10_000
_BATCH: Final = 200
_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
_OWN_FIELDS: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class LineWriter:
    """Writes lines to a file descriptor in a thread. lock_file: shared with other processes that write there too.

    dropped counts lines that found the queue full; on_drop is called for each."""

    def __init__(
        self,
        descriptor: int = 1,
        capacity: int = CAPACITY,
        lock_file: Path | None = None,
        on_drop: Callable[[], None] | None = None,
    ) -> None:
        self.dropped = 0
        self.on_drop = on_drop
        self._descriptor = descriptor
        self._queue: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._capacity = capacity
        # an open file of our own: an inherited one would share the lock with the process that it came from
        self._lock = os.open(lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600) if lock_file else -1
        self._gone = False
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def write(self, line: str) -> None:
        """Queue one line (without its end). Returns at once."""
        if self._queue.qsize() >= self._capacity or self._gone:
            self.dropped += 1
            if self.on_drop:
                self.on_drop()
            return
        self._queue.put(line)

    def close(self, timeout: float = 2.0) -> None:
        """Write what is queued, at most ``timeout`` seconds long."""
        self._queue.put(None)
        self._thread.join(timeout)

    def _run(self) -> None:
        while True:
            line = self._queue.get()
            lines: list[str] = []
            while line is not None:
                lines.append(line)
                if len(lines) >= _BATCH or self._queue.empty():
                    break
                line = self._queue.get()
            if lines and not self._gone:
                self._put("".join(text + "\n" for text in lines).encode("utf-8", "backslashreplace"))
            if line is None:
                return

    def _put(self, octets: bytes) -> None:
        try:
            if self._lock >= 0:
                fcntl.flock(self._lock, fcntl.LOCK_EX)
            left = memoryview(octets)
            while left:
                left = left[os.write(self._descriptor, left) :]
        except OSError:
            # nobody reads any more (EPIPE): there is no place left to say so; further lines are counted as dropped
            self._gone = True
        finally:
            if self._lock >= 0:
                fcntl.flock(self._lock, fcntl.LOCK_UN)


class Log:
    """What a process logs through: decision records (``emit``) and everything that uses ``logging``."""

    def __init__(
        self, writer: LineWriter, *, node: str, form: Literal["json", "text"] = "json", level: str = "info"
    ) -> None:
        self.writer = writer
        self._node = node
        self._form = form
        self._least = _LEVELS[level]

    def emit(self, record: Mapping[str, Any]) -> None:
        """Write one record; ``time``, ``level`` and ``node`` are filled in where they are missing."""
        if _LEVELS.get(str(record.get("level", "info")), 20) < self._least:
            return
        head = {"time": now(), "level": "info", "event": "log", "node": self._node}
        full = {**head, **record}
        if self._form == "text":
            self.writer.write(as_text(full))
        else:
            self.writer.write(json.dumps(full, ensure_ascii=False, separators=(",", ":"), default=str))

    def install(self) -> None:
        """Send ``logging`` through here. aiosmtpd's own logger repeats each command of a client: warnings only."""
        root = logging.getLogger()
        for handler in tuple(root.handlers):
            root.removeHandler(handler)
        root.addHandler(_Handler(self))
        root.setLevel(max(self._least, logging.DEBUG))
        for noisy in ("mail.log", "asyncio"):
            logging.getLogger(noisy).setLevel(logging.WARNING)


class _Handler(logging.Handler):
    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """One line of ``logging`` as a record; ``extra`` fields become fields, ``event`` among them."""
        extra = {key: value for key, value in record.__dict__.items() if key not in _OWN_FIELDS}
        fields: dict[str, Any] = {
            "time": now(),
            "level": record.levelname.lower(),
            "event": "log",
            "logger": record.name,
            **extra,
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[0] is not None:
            fields["traceback"] = "".join(traceback.format_exception(*record.exc_info))[-8000:]
        self._log.emit(fields)


def now() -> str:
    """The time in RFC 3339, UTC, milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def as_text(record: Mapping[str, Any]) -> str:
    """One line for people who grep: time, event, id, then key=value; control characters are escaped."""
    if record.get("event") in ("transaction", "reject", "session"):
        keys = ("size", "msgid", "spf", "dkim", "dmarc", "protocol", "result")
        told = {key: record.get(key) for key in ("client_ip", "helo")}
        if record["event"] == "transaction":
            asked = record.get("rcpts", ())
            refused = [one["address"] for one in asked if not str(one.get("reply", "")).startswith("2")]
            told |= {"from": record.get("from") or "<>", "rcpt": record.get("rcpt"), "refused": refused}
        told |= {key: record.get(key) for key in keys}
        if told["protocol"] == [record.get("reply")]:
            del told["protocol"]  # it stands at the end
        words = [f"{key}={_word(value)}" for key, value in told.items() if value not in (None, "", [])]
        words += [f"{key}={_word(record.get(key, ''))}" for key in ("reason", "reply")]
        if record.get("ms_reply"):
            words.append(f"mailstore={_word(record.get('mailstore', ''))} said={_word(record['ms_reply'])}")
        body = f"{record.get('qid', '-')}: {', '.join(words)}"
    else:
        skip = {"time", "level", "event", "node", "message", "traceback", "logger"}
        told = {key: value for key, value in record.items() if key not in skip and value not in ("", [])}
        words = [f"{key}={_word(value)}" for key, value in told.items()]
        body = " ".join(filter(None, [str(record.get("message", "")), *words]))
        if record.get("traceback"):
            body += f" {record['traceback']}"
    line = f"{record['time']} {record.get('node', '')} mxgw {record['level']} {record['event']}: {body}"
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in line)


def _word(value: object) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(_word, value))
    if isinstance(value, dict):
        # a listener without a name is called by its address
        return ",".join(f"{key}={item}" if str(key) != str(item) else str(item) for key, item in value.items())
    text = str(value)
    return f'"{text}"' if " " in text else text


def standard_output(lock_file: Path | None = None) -> LineWriter:
    """A writer on standard output."""
    sys.stdout.flush()
    return LineWriter(1, lock_file=lock_file)
