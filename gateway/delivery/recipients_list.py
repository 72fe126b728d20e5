"""Recipients as a list of our own, in place of asking the mailstore: from the settings, or from a file.

One entry a line: ``user@example.org``, or ``@example.org`` for everybody there; empty lines and what follows ``#`` do
not count. Local parts are compared without regard to case, as mailstores do. ``postmaster`` is never refused
(RFC 5321 section 4.5.1). A file is read again when it has changed; one that became unreadable or wrong changes nothing
and is told in the log.

Known gaps: no patterns and no subaddresses; ``user+tag@`` needs an entry of its own or ``@example.org``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.mail.address import AddressError, Mailbox, parse_domain, parse_mailbox
from gateway.ports.clock import Clock
from gateway.ports.mailstore import Known, RecipientStatus
from gateway.yamlfile import Fault, FaultsError

log = logging.getLogger("mxgw.delivery")

LOOK_SECONDS: Final = 1.0
"""How often the file's date and size are looked at, at most."""
_REMEDY: Final = "write user@example.org or @example.org"
_FAULTS: Final = 50


@dataclass(frozen=True, slots=True)
class RecipientList:
    """addresses: local part in lower case and domain (A-label); domains: all of whose recipients exist."""

    addresses: frozenset[tuple[str, str]]
    domains: frozenset[str]

    @classmethod
    def of(cls, entries: Iterable[str]) -> RecipientList:
        """From entries. Raises ValueError with the first that is no address."""
        addresses: set[tuple[str, str]] = set()
        domains: set[str] = set()
        for text in entries:
            found = parse_entry(text)
            if isinstance(found, str):
                domains.add(found)
            else:
                addresses.add((found.local_part.lower(), found.domain))
        return cls(frozenset(addresses), frozenset(domains))

    def __len__(self) -> int:
        return len(self.addresses) + len(self.domains)

    def status(self, mailbox: Mailbox) -> RecipientStatus:
        """YES or NO; UNVERIFIABLE for a postmaster who is not listed, so that the mailstore speaks for itself."""
        local_part = mailbox.local_part.lower()
        if mailbox.domain in self.domains or (local_part, mailbox.domain) in self.addresses:
            return RecipientStatus(Known.YES, "listed", cached=True)
        if local_part == "postmaster":
            return RecipientStatus(Known.UNVERIFIABLE, "postmaster is always taken", cached=True)
        return RecipientStatus(Known.NO, "not listed", cached=True)


def parse_entry(text: str) -> Mailbox | str:
    """One entry: a mailbox, or the domain of ``@example.org``. Raises ValueError."""
    try:
        return parse_domain(text[1:]) if text.startswith("@") else parse_mailbox(text)
    except AddressError as error:
        raise ValueError(f"{text!r} is no address ({error})") from error


def read_list(path: Path) -> RecipientList:
    """The list in a file. Raises FaultsError with every fault and its line; blocks, so call it in a thread."""
    try:
        text = path.read_text(encoding="utf-8-sig")  # as PowerShell writes it
    except OSError as error:
        problem = f"cannot be read: {error.strerror or type(error).__name__}"
        raise FaultsError([Fault(str(path), 0, "", problem, "check the path and its rights")]) from error
    except UnicodeDecodeError as error:
        raise FaultsError([Fault(str(path), 0, "", "is not UTF-8 text", "save it as UTF-8")]) from error
    faults: list[Fault] = []
    entries: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        entry = line.partition("#")[0].strip()
        if not entry:
            continue
        try:
            parse_entry(entry)
        except ValueError as error:
            faults.append(Fault(str(path), number, "", str(error), _REMEDY))
        entries.append(entry)
    if not entries:
        faults.append(Fault(str(path), 1, "", "holds no recipient at all, so all mail would be refused", _REMEDY))
    if faults:
        raise FaultsError(faults[:_FAULTS])
    return RecipientList.of(entries)


@dataclass(frozen=True, slots=True)
class ListedRecipients:
    """``ports.mailstore.RecipientDirectory`` over a list that does not change."""

    listed: RecipientList

    async def recipient(self, mailbox: Mailbox) -> RecipientStatus:
        """As the list says."""
        return self.listed.status(mailbox)


class AcceptedRecipients:
    """``ports.mailstore.RecipientDirectory`` that asks nobody: the mailstore's answer at the hand-over counts."""

    async def recipient(self, mailbox: Mailbox) -> RecipientStatus:  # noqa: ARG002
        """UNVERIFIABLE."""
        return RecipientStatus(Known.UNVERIFIABLE, "recipients: accept", cached=True)


class FileRecipients:
    """``ports.mailstore.RecipientDirectory`` over a file, read again when its date, size or inode has changed.
    Reads it at once: raises FaultsError."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._seen = _signature(path)
        self._listed = read_list(path)
        self._look_at = clock.monotonic() + LOOK_SECONDS
        self._looking: asyncio.Lock = asyncio.Lock()

    async def recipient(self, mailbox: Mailbox) -> RecipientStatus:
        """As the file says now, or said before it became wrong."""
        if self._clock.monotonic() >= self._look_at and not self._looking.locked():
            async with self._looking:
                await self._look()
        return self._listed.status(mailbox)

    async def _look(self) -> None:
        self._look_at = self._clock.monotonic() + LOOK_SECONDS
        now = await asyncio.to_thread(_signature, self._path)
        if now == self._seen:
            return
        self._seen = now
        try:
            self._listed = await asyncio.to_thread(read_list, self._path)
        except FaultsError as error:
            for fault in error.faults:
                log.error("%s (the recipients read before stay in force)", fault, extra={"event": "recipients"})
            return
        log.info("%s: %d recipients", self._path, len(self._listed), extra={"event": "recipients"})


def _signature(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0)
    return (found.st_mtime_ns, found.st_size, found.st_ino)
