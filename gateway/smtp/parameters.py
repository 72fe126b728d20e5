"""The parameters of MAIL and RCPT: SIZE (RFC 1870), BODY (RFC 6152), SMTPUTF8 (RFC 6531), RET, ENVID, NOTIFY and ORCPT
(RFC 3461), REQUIRETLS (RFC 8689), PRDR (draft-hall-prdr).

An unknown parameter is 555, a known one with a wrong value or given twice 501 (RFC 5321 section 4.1.1.11).

Known gaps: none.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from gateway.mail.dsn import DsnError, MailDsn, RcptDsn, parse_envid, parse_notify, parse_orcpt, parse_ret

_SIZE: Final = re.compile(r"[0-9]{1,20}")
_FLAGS: Final = ("SMTPUTF8", "PRDR", "REQUIRETLS")
MAIL: Final = frozenset({"SIZE", "BODY", "RET", "ENVID", *_FLAGS})
RCPT: Final = frozenset({"NOTIFY", "ORCPT"})


class Refused(Exception):
    """A command's syntax is wrong: the protocol reply that says so."""

    def __init__(self, code: int, enhanced: str, text: str) -> None:
        self.parts = (code, enhanced, text)
        super().__init__(text)


@dataclass(frozen=True, slots=True)
class MailParameters:
    """size: octets, None when not given. body: 7BIT or 8BITMIME."""

    size: int | None = None
    body: str = "7BIT"
    smtputf8: bool = False
    prdr: bool = False
    requiretls: bool = False
    dsn: MailDsn = field(default_factory=MailDsn)


def mail_parameters(words: Sequence[str], offered: Collection[str] = MAIL) -> MailParameters:
    """Those behind MAIL. offered: keywords that this session knows. Raises Refused."""
    given = _given(words, offered, "MAIL")
    size = given.get("SIZE", "0")
    body = (given.get("BODY", "7BIT") or "").upper()
    if size is None or not _SIZE.fullmatch(size):
        raise Refused(501, "5.5.4", "SIZE needs a number of octets")
    if body not in ("7BIT", "8BITMIME"):
        raise Refused(501, "5.5.4", "BODY is 7BIT or 8BITMIME")
    for flag in _FLAGS:
        if given.get(flag) is not None:
            raise Refused(501, "5.5.4", f"{flag} takes no value")
    try:
        dsn = MailDsn(
            parse_ret(given["RET"]) if "RET" in given else "",
            parse_envid(given["ENVID"]) if "ENVID" in given else "",
        )
    except DsnError as error:
        raise Refused(501, "5.5.4", str(error)) from error
    return MailParameters(
        int(size) if "SIZE" in given else None,
        body,
        "SMTPUTF8" in given,
        "PRDR" in given,
        "REQUIRETLS" in given,
        dsn,
    )


def rcpt_parameters(words: Sequence[str]) -> RcptDsn:
    """Those behind RCPT. Raises Refused."""
    given = _given(words, RCPT, "RCPT")
    try:
        return RcptDsn(
            parse_notify(given["NOTIFY"]) if "NOTIFY" in given else (),
            parse_orcpt(given["ORCPT"]) if "ORCPT" in given else "",
        )
    except DsnError as error:
        raise Refused(501, "5.5.4", str(error)) from error


def _given(words: Sequence[str], known: Collection[str], verb: str) -> Mapping[str, str | None]:
    given: dict[str, str | None] = {}
    for word in words:
        keyword, equals, value = word.partition("=")
        keyword = keyword.upper()
        if keyword not in known:
            raise Refused(555, "5.5.4", f"Unknown {verb} parameter")
        if keyword in given:
            raise Refused(501, "5.5.4", f"{keyword} is given twice")
        given[keyword] = value if equals else None
    return given
