"""The Mailstore port over Maildir folders: <root>/<domain>/<local part>/new, one file a recipient, bytes exact.

tmp, fsync, rename into new, fsync of the folder: a crash at any point leaves no half message in ``new``. Files keep
CRLF and carry no added fields.

Known gaps: a crash between rename and the ledger's record makes a duplicate; leftovers in tmp are the reader's to
clean, as the Maildir convention has it.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import time
from collections.abc import Iterable
from pathlib import Path

from gateway.delivery.url import MailstoreUrl
from gateway.mail.address import Mailbox
from gateway.mail.finding import Cause, Why
from gateway.mail.message import OutgoingMessage
from gateway.mail.transaction import Transaction
from gateway.ports.failure import PortFailure
from gateway.ports.mailstore import DeliveryResult, Handover, Known, RecipientResult, RecipientStatus

_UNSAFE = re.compile(rb"[^a-z0-9._+-]")
_sequence = itertools.count()


def folder_name(text: str) -> str:
    """A file name that is safe: everything but a-z 0-9 . _ + - as %XX, a leading dot too; never '.' or '..'."""
    octets = text.encode("utf-8", "surrogateescape")
    name = _UNSAFE.sub(lambda match: b"%%%02X" % match[0][0], octets).decode("ascii")
    return "%2E" + name[1:] if name.startswith(".") else name or "%00"


class MaildirMailstore:
    """maildir:/path. Work with files is done in threads."""

    def __init__(self, url: MailstoreUrl, hostname: str) -> None:
        self._url = url
        self._root = Path(url.path)
        self._hostname = hostname.replace("/", "\\057").replace(":", "\\072")

    @property
    def name(self) -> str:
        """Its URL without options."""
        return str(self._url)

    @property
    def keeps_requiretls(self) -> bool:
        """RFC 8689: the mail leaves the machine no more."""
        return True

    async def deliver(self, tx: Transaction, message: OutgoingMessage, budget: float) -> DeliveryResult:
        """Write one file for each recipient. Raises PortFailure when nothing was put into any ``new``."""
        assert tx.envelope is not None
        started = time.perf_counter()
        results = await asyncio.to_thread(self._deliver, tx.envelope.recipients, message, time.monotonic() + budget)
        return DeliveryResult(self.name, results, {"content": time.perf_counter() - started})

    async def recipient(self, mailbox: Mailbox) -> RecipientStatus:
        """UNVERIFIABLE, or with recipients=existing whether the folder is there."""
        if not self._url.existing_only:
            return RecipientStatus(Known.UNVERIFIABLE, "this Maildir takes every recipient")
        try:
            known = await asyncio.to_thread(self._exists, mailbox)
        except OSError as error:
            raise PortFailure("mailstore", Why.REFUSED, str(error)) from error
        return RecipientStatus(Known.YES if known else Known.NO, "" if known else "no folder")

    async def close(self) -> None:
        """Nothing is kept open."""

    def folder(self, mailbox: Mailbox) -> Path:
        """Where this recipient's Maildir is."""
        return self._root / folder_name(mailbox.domain) / folder_name(mailbox.local_part)

    def _exists(self, mailbox: Mailbox) -> bool:
        try:
            return self.folder(mailbox).stat().st_mode & 0o170000 == 0o040000
        except (FileNotFoundError, NotADirectoryError):
            return False

    def _deliver(
        self, recipients: tuple[Mailbox, ...], message: OutgoingMessage, end: float
    ) -> dict[Mailbox, RecipientResult]:
        results: dict[Mailbox, RecipientResult] = {}
        written: dict[Mailbox, Path] = {}
        try:
            # all copies first: a full disk is met before anybody has the message
            for mailbox in dict.fromkeys(recipients):
                if self._url.existing_only and not self._exists(mailbox):
                    results[mailbox] = RecipientResult(Handover.REFUSED, 550, "5.1.1", "No such recipient")
                else:
                    written[mailbox] = self._write(self.folder(mailbox), message, end)
        except OSError as error:
            _remove(written.values())
            raise PortFailure("mailstore", Why.REFUSED, str(error)) from error
        except PortFailure:
            _remove(written.values())
            raise
        for mailbox, path in written.items():
            results[mailbox] = _publish(path)
        return results

    def _write(self, folder: Path, message: OutgoingMessage, end: float) -> Path:
        for part in (folder / "tmp", folder / "new", folder / "cur"):
            _make(part, self._root)
        now = time.time()
        unique = f"{int(now)}.M{int(now % 1 * 1e6)}P{os.getpid()}Q{next(_sequence)}.{self._hostname}"
        path = folder / "tmp" / unique
        with path.open("xb") as file:
            try:
                for chunk in message.chunks():
                    if time.monotonic() > end:
                        raise PortFailure("mailstore", Why.BUDGET, "writing the file")
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
