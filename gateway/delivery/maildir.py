"""The Mailstore port over Maildir folders: <root>/<domain>/<local part>/new, one file a recipient, bytes exact.

tmp, fsync, rename into new, fsync of the folder: a crash at any point leaves no half message in ``new``. Files keep
CRLF and carry no added fields.

The disk may hang, as a network's does. Each Maildir has threads of its own, so that nothing else of the node waits for
it, and a hand-over ends with its budget: thread and loop agree in :class:`Attempt` that a file which is late is dropped
and not moved into ``new``, since the client has heard 451 and comes again.

Known gaps: a move that hangs past the budget leaves a message in doubt, as a lost reply of SMTP does; a crash between
rename and the ledger's record makes a duplicate; leftovers in tmp are the reader's to clean, as the Maildir convention
has it.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from gateway.delivery.url import MailstoreUrl
from gateway.mail.address import Mailbox
from gateway.mail.finding import Cause, Why
from gateway.mail.limits import MAILSTORE_COMMAND
from gateway.mail.message import OutgoingMessage
from gateway.mail.transaction import Transaction
from gateway.ports.failure import PortFailure
from gateway.ports.mailstore import DeliveryResult, Handover, Known, RecipientResult, RecipientStatus

_UNSAFE = re.compile(rb"[^a-z0-9._+-]")
_sequence = itertools.count()

THREADS: Final = 8
"""Of one Maildir in a worker; a message holds one until its files are durable."""

T = TypeVar("T")


def folder_name(text: str) -> str:
    """A file name that is safe: everything but a-z 0-9 . _ + - as %XX, a leading dot too; never '.' or '..'."""
    octets = text.encode("utf-8", "surrogateescape")
    name = _UNSAFE.sub(lambda match: b"%%%02X" % match[0][0], octets).decode("ascii")
    return "%2E" + name[1:] if name.startswith(".") else name or "%00"


class Late(Exception):
    """A thread did not end in time; it goes on."""


class Attempt:
    """One hand-over, seen by the thread that files and by the loop that waits until ``end`` (time.monotonic)."""

    def __init__(self, end: float) -> None:
        self._end = end
        self._lock = threading.Lock()
        self._over = False
        self._moving: Mailbox | None = None
        self.results: dict[Mailbox, RecipientResult] = {}

    def go_on(self) -> None:
        """Raises PortFailure(budget) when nobody waits any more; once somebody has the message, only then."""
        if self._over or (not self.results and time.monotonic() > self._end):
            raise PortFailure("mailstore", Why.BUDGET, "the file was not written in time")

    def move(self, mailbox: Mailbox) -> None:
        """The file of that recipient goes into ``new`` now. Raises PortFailure when it must not."""
        with self._lock:
            self.go_on()
            self._moving = mailbox

    def ended(self, mailbox: Mailbox, result: RecipientResult) -> None:
        """What became of it."""
        with self._lock:
            self._moving = None
            self.results[mailbox] = result

    def give_up(self) -> None:
        """From now on nothing is moved."""
        with self._lock:
            self._over = True

    def late(self, recipients: Sequence[Mailbox]) -> dict[Mailbox, RecipientResult]:
        """Gives up. Returns what is known, MAYBE for whom the move hangs, DEFERRED for the others. Raises PortFailure
        when nobody has or may have the message."""
        with self._lock:
            self._over = True
            cause = Cause("mailstore", Why.BUDGET, "the disk did not answer in time")
            late = dict.fromkeys(recipients, RecipientResult(Handover.DEFERRED, cause=cause))
            if self._moving is not None:
                late[self._moving] = RecipientResult(Handover.MAYBE, cause=cause)
            elif not self.results:
                raise PortFailure("mailstore", cause.why, cause.detail)
            return {**late, **self.results}


class MaildirMailstore:
    """maildir:/path. Work with files is done in threads of its own."""

    def __init__(self, url: MailstoreUrl, hostname: str) -> None:
        self._url = url
        self._root = Path(url.path)
        self._hostname = hostname.replace("/", "\\057").replace(":", "\\072")
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="maildir")
        self._places = asyncio.Semaphore(THREADS)

    @property
    def name(self) -> str:
        """Its URL without options."""
        return str(self._url)

    @property
    def keeps_requiretls(self) -> bool:
        """RFC 8689: the mail leaves the machine no more."""
        return True

    async def deliver(self, tx: Transaction, message: OutgoingMessage, budget: float) -> DeliveryResult:
        """Write one file for each recipient inside ``budget`` seconds. Raises PortFailure when nothing was put into
        any ``new``, nor will be."""
        assert tx.envelope is not None
        recipients, started = tx.envelope.recipients, time.perf_counter()
        attempt = Attempt(time.monotonic() + budget)
        try:
            await self._in_thread(budget, lambda: self._deliver(recipients, message, attempt))
            results = attempt.results
        except Late:
            results = attempt.late(recipients)
        finally:
            attempt.give_up()  # also when we are cancelled
        return DeliveryResult(self.name, results, {"content": time.perf_counter() - started})

    async def recipient(self, mailbox: Mailbox) -> RecipientStatus:
        """UNVERIFIABLE, or with recipients=existing whether the folder is there."""
        if not self._url.existing_only:
            return RecipientStatus(Known.UNVERIFIABLE, "this Maildir takes every recipient")
        try:
            known = await self._in_thread(MAILSTORE_COMMAND, lambda: self._exists(mailbox))
        except OSError as error:
            raise PortFailure("mailstore", Why.REFUSED, str(error)) from error
        except Late:
            raise PortFailure("mailstore", Why.TIMEOUT, "the disk did not answer in time") from None
        return RecipientStatus(Known.YES if known else Known.NO, "" if known else "no folder")

    async def close(self) -> None:
        """Waits for no thread. Python does at the process's end: the supervisor ends a worker whose disk hangs."""
        self._threads.shutdown(wait=False)

    async def _in_thread(self, seconds: float, job: Callable[[], T]) -> T:
        """What ``job`` returns or raises. Raises Late when it runs longer; PortFailure(overload) when all threads stay
        busy for half of the time, and then it is never begun."""
        end = time.monotonic() + seconds
        try:
            async with asyncio.timeout(seconds / 2):
                await self._places.acquire()
        except TimeoutError:
            raise PortFailure("mailstore", Why.OVERLOAD, f"its {THREADS} threads wait for the disk") from None
        running = asyncio.get_running_loop().run_in_executor(self._threads, job)
        running.add_done_callback(self._free)
        # not asyncio.timeout: a thread cannot be cancelled, and its OSError may be a TimeoutError too
        done, _ = await asyncio.wait([running], timeout=end - time.monotonic())
        if not done:
            raise Late
        return running.result()

    def _free(self, ended: asyncio.Future[Any]) -> None:
        self._places.release()
        if not ended.cancelled():
            ended.exception()  # read, so that the loop does not report the end of a job that was late

    def folder(self, mailbox: Mailbox) -> Path:
        """Where this recipient's Maildir is."""
        return self._root / folder_name(mailbox.domain) / folder_name(mailbox.local_part)

    def _exists(self, mailbox: Mailbox) -> bool:
        try:
            return self.folder(mailbox).stat().st_mode & 0o170000 == 0o040000
        except (FileNotFoundError, NotADirectoryError):
            return False

    def _deliver(self, recipients: Sequence[Mailbox], message: OutgoingMessage, attempt: Attempt) -> None:
        refused: list[Mailbox] = []
        written: dict[Mailbox, Path] = {}
        try:
            # all copies first: a full disk is met before anybody has the message
            for mailbox in dict.fromkeys(recipients):
                if self._url.existing_only and not self._exists(mailbox):
                    refused.append(mailbox)
                else:
                    written[mailbox] = self._write(self.folder(mailbox), message, attempt)
        except OSError as error:
            _remove(written.values())
            raise PortFailure("mailstore", Why.REFUSED, str(error)) from error
        except PortFailure:
            _remove(written.values())
            raise
        for mailbox in tuple(written):
            try:
                attempt.move(mailbox)
            except PortFailure:
                _remove(written.values())
                raise
            attempt.ended(mailbox, _publish(written.pop(mailbox)))
        for mailbox in refused:
            attempt.ended(mailbox, RecipientResult(Handover.REFUSED, 550, "5.1.1", "No such recipient"))

    def _write(self, folder: Path, message: OutgoingMessage, attempt: Attempt) -> Path:
        for part in (folder / "tmp", folder / "new", folder / "cur"):
            _make(part, self._root)
        now = time.time()
        unique = f"{int(now)}.M{int(now % 1 * 1e6)}P{os.getpid()}Q{next(_sequence)}.{self._hostname}"
        path = folder / "tmp" / unique
        with path.open("xb") as file:
            try:
                for chunk in message.chunks():
                    attempt.go_on()
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            except BaseException:
                path.unlink(missing_ok=True)
                raise
        return path


def _publish(path: Path) -> RecipientResult:
    new = path.parent.parent / "new"
    try:
        path.rename(new / path.name)
    except OSError as error:
        _remove([path])
        cause = Cause("mailstore", Why.REFUSED, str(error))
        return RecipientResult(Handover.DEFERRED, 451, "4.3.0", "Cannot file the message", cause)
    try:
        _sync(new)
    except OSError as error:
        return RecipientResult(Handover.MAYBE, cause=Cause("mailstore", Why.REFUSED, str(error)))
    return RecipientResult(Handover.DELIVERED, 250, "2.0.0", f"filed as {path.name}")


def _make(folder: Path, root: Path) -> None:
    """Make a folder and those above it up to the root, each entry durable."""
    if folder.is_dir():
        return
    if folder != root:
        _make(folder.parent, root)
    folder.mkdir(mode=0o700, parents=folder == root, exist_ok=True)
    _sync(folder.parent)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
