"""What arrived: the Message-IDs of a drill in the recipient's mailbox, and how often each.

``maildir:/path`` looks through all ``new`` and ``cur`` below the path; ``imap://user@host:port`` and ``imaps://`` ask a
server, with the password of ``MXGW_DRILL_PASSWORD``, in INBOX.

Known gaps: messages that a filter of the mailstore moves out of INBOX are not found over IMAP.
"""

from __future__ import annotations

import asyncio
import imaplib
import re
import ssl
from collections import Counter
from pathlib import Path
from urllib.parse import unquote, urlsplit

_HEAD = 65536
_ID = re.compile(rb"(?im)^Message-ID:\s*<([^>\s]+)>")


class MailboxError(Exception):
    """The mailbox cannot be read; the text says why."""


class Mailbox:
    """``Mailbox("maildir:/var/mail/drill", password="", token="...")``. Raises ValueError for what is no such URL."""

    def __init__(self, url: str, password: str, token: str) -> None:
        self._url = urlsplit(url)
        self._password = password
        self._token = token
        if self._url.scheme == "maildir":
            self._path = Path(self._url.path)
            if not self._url.path.startswith("/") or self._url.netloc:
                raise ValueError("must be maildir:/path")
        elif self._url.scheme in ("imap", "imaps"):
            if not self._url.hostname or not self._url.username:
                raise ValueError("must be imap://user@host:port")
        else:
            raise ValueError("must begin with maildir:, imap:// or imaps://")

    async def count(self) -> Counter[str]:
        """Message-ID -> how often it is there. Raises MailboxError."""
        try:
            return await asyncio.to_thread(self._files if self._url.scheme == "maildir" else self._imap)
        except (OSError, imaplib.IMAP4.error, ssl.SSLError) as error:
            raise MailboxError(f"{self._url.scheme}: {error}") from error

    def _files(self) -> Counter[str]:
        found: Counter[str] = Counter()
        if not self._path.is_dir() and not self._path.parent.is_dir():
            # the mailbox itself may begin with its first message
            raise MailboxError(f"{self._path.parent} is no folder")
        for file in (*self._path.rglob("new/*"), *self._path.rglob("cur/*")):
            try:
                with file.open("rb") as opened:
                    self._note(found, opened.read(_HEAD))
            except FileNotFoundError:
                continue  # its reader moved it in this moment
        return found

    def _note(self, found: Counter[str], octets: bytes) -> None:
        head = octets.partition(b"\r\n\r\n")[0] if b"\r\n\r\n" in octets else octets.partition(b"\n\n")[0]
        match = _ID.search(head)
        if match and f".{self._token}@".encode() in match[1]:
            found[match[1].decode("ascii", "replace")] += 1

    def _imap(self) -> Counter[str]:
        host, port = self._url.hostname or "", self._url.port
        box: imaplib.IMAP4
        if self._url.scheme == "imaps":
            box = imaplib.IMAP4_SSL(host, port or 993, ssl_context=ssl.create_default_context(), timeout=30)
        else:
            box = imaplib.IMAP4(host, port or 143, timeout=30)
        with box:
            box.login(unquote(self._url.username or ""), self._password)
            box.select("INBOX", readonly=True)
            _, numbers = box.search(None, "HEADER", "Message-ID", f'"{self._token}"')
            found: Counter[str] = Counter()
            if numbers and numbers[0]:
                listed = b",".join(numbers[0].split()).decode("ascii")
                _, parts = box.fetch(listed, "(BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])")
                for part in parts:
                    if isinstance(part, tuple):
                        self._note(found, part[1])
            return found
