"""The parameters with which a client says what it wants to be told of its message (RFC 3461 section 4).

MAIL: ``RET=FULL|HDRS`` and ``ENVID=xtext``; RCPT: ``NOTIFY=NEVER`` or a list of SUCCESS, FAILURE and DELAY, and
``ORCPT=type;xtext``, with the address type ``utf-8`` of RFC 6533. Values are kept as they travel, so they are ASCII
without blanks and can be written into a command as they stand. Parsing is strict: a :class:`DsnError` is a 501.

Known gaps: that an ORCPT of type rfc822 is a mailbox is not looked at, since nothing here acts on it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

ENVID_OCTETS: Final = 100
"""RFC 3461 section 4.4."""
ORCPT_OCTETS: Final = 500
"""RFC 3461 section 4.2."""

# xchar and hexchar of section 4; a character that is not printable may not hide behind a hexchar either
_XTEXT: Final = re.compile(r"(?:[\x21-\x2a\x2c-\x3c\x3e-\x7e]|\+[2-6][0-9A-F]|\+7[0-9A-E])*")
_ORCPT: Final = re.compile(r"([A-Za-z0-9!#$%&'*/?^_`{|}~-]+);(.+)")
_EMBEDDED: Final = re.compile(r"\\(?!x\{[0-9A-F]{2,6}\})")
_UNSAFE: Final = re.compile(r"[\x00-\x20\x7f-\x9f\ud800-\udfff]")


class DsnError(ValueError):
    """A parameter is not of RFC 3461's grammar; the text says what is wrong and is safe to say."""


@dataclass(frozen=True, slots=True)
class MailDsn:
    """ret: '', 'FULL' or 'HDRS'. envid: xtext, '' for none."""

    ret: str = ""
    envid: str = ""

    @property
    def parameters(self) -> str:
        """As they stand behind MAIL, each with a blank before it."""
        return (f" RET={self.ret}" if self.ret else "") + (f" ENVID={self.envid}" if self.envid else "")


@dataclass(frozen=True, slots=True)
class RcptDsn:
    """notify: empty for none, else in the client's order. orcpt: type, semicolon and xtext, '' for none."""

    notify: tuple[str, ...] = ()
    orcpt: str = ""

    @property
    def parameters(self) -> str:
        """As they stand behind RCPT, each with a blank before it."""
        notify = f" NOTIFY={','.join(self.notify)}" if self.notify else ""
        return notify + (f" ORCPT={self.orcpt}" if self.orcpt else "")


def parse_ret(value: str | None) -> str:
    """RET. Raises DsnError."""
    if value is None or value.upper() not in ("FULL", "HDRS"):
        raise DsnError("RET is FULL or HDRS")
    return value.upper()


def parse_envid(value: str | None) -> str:
    """ENVID. Raises DsnError."""
    if not value or len(value) > ENVID_OCTETS or not _XTEXT.fullmatch(value):
        raise DsnError(f"ENVID is xtext of at most {ENVID_OCTETS} characters")
    return value


def parse_notify(value: str | None) -> tuple[str, ...]:
    """NOTIFY. Raises DsnError."""
    words = tuple(dict.fromkeys((value or "").upper().split(",")))
    if words != ("NEVER",) and not set(words) <= {"SUCCESS", "FAILURE", "DELAY"}:
        raise DsnError("NOTIFY is NEVER or a list of SUCCESS, FAILURE and DELAY")
    return words


def parse_orcpt(value: str | None) -> str:
    """ORCPT. An address in UTF-8 comes out in the form that is ASCII (RFC 6533 section 3). Raises DsnError."""
    match = _ORCPT.fullmatch(value or "")
    if not match or len((value or "").encode("utf-8", "replace")) > ORCPT_OCTETS:
        raise DsnError(f"ORCPT is an address type, a semicolon and xtext, of at most {ORCPT_OCTETS} octets")
    kind, text = match[1], match[2]
    if kind.lower() == "utf-8":
        if _UNSAFE.search(text) or _EMBEDDED.search(text):
            raise DsnError("ORCPT of type utf-8 is not of RFC 6533")
        text = "".join(char if char.isascii() else f"\\x{{{ord(char):X}}}" for char in text)
    if not _XTEXT.fullmatch(text):
        raise DsnError("ORCPT is not xtext")
    return f"{kind};{text}"
