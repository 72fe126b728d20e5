"""The verbs of a session (RFC 5321 section 4.1): a command line in, a reply out; states and syntax, no socket.

DATA, STARTTLS and QUIT are judged here and carried out by the session. What concerns mail is the reception's matter.

Known gaps: no BDAT, AUTH, ETRN, DSN parameters.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Final

from gateway.mail import address
from gateway.mail.limits import WireLimits
from gateway.mail.reply import Reply, reply_for
from gateway.reception import Reception

NOT_SMTP: Final = frozenset(
    {"GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "CONNECT", "PATCH", "TRACE", "PRI", "HOST:", "USER-AGENT:"}
)
"""Words of other protocols: a browser or a scanner was led here, and behind them comes text of a third party."""
NOT_OFFERED: Final = frozenset({"AUTH", "ETRN", "BDAT", "TURN", "ATRN", "SEND", "SOML", "SAML", "XCLIENT", "XFORWARD"})

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_SIZE = re.compile(r"[0-9]{1,20}")


class _Refused(Exception):
    """A command's syntax is wrong: the protocol reply that says so."""

    def __init__(self, code: int, enhanced: str, text: str) -> None:
        self.parts = (code, enhanced, text)
        super().__init__(text)


class Commands:
    """The commands of one session. tls_offered: tells whether STARTTLS can be had now."""

    def __init__(
        self, reception: Reception, hostname: str, limits: WireLimits, tls_offered: Callable[[], bool]
    ) -> None:
        self._reception = reception
        self._hostname = hostname
        self._limits = limits
        self._tls_offered = tls_offered
        self._junk = 0
        self._transactions = 0
        self.own_refusal = False
        """The last answer was refused here, so the reception has not counted it."""

    async def answer(self, line: bytes) -> tuple[str, Reply]:
        """The verb in upper case ('?' for none that we know) and the reply. Raises only what the reception raises."""
        self.own_refusal = False
        word, _, rest = line.partition(b" ")
        verb = word.decode("ascii", "replace").upper()
        if verb in NOT_SMTP:
            return "?", self.protocol(421, "4.7.0", "This is not a web server", close=True)
        if verb in NOT_OFFERED:
            return "?", self._count_junk(502, "Command is not offered")
        method = _VERBS.get(verb)
        if method is None:
            return "?", self._count_junk(500, "Command not recognised")
        try:
            return verb, await method(self, rest.strip(b" \t"))
        except _Refused as refused:
            return verb, self.protocol(*refused.parts)

    def protocol(self, code: int, enhanced: str, text: str, close: bool = False) -> Reply:
        """A refusal of the protocol itself, with the id that a foreign postmaster can quote."""
        self.own_refusal = True
        return Reply(code, enhanced, f"{text} [{self._reception.id}]", close=close)

    def reason(self, reason: str) -> Reply:
        """A reply of the table."""
        self.own_refusal = True
        return reply_for(reason, self._reception.id)

    def _count_junk(self, code: int, text: str) -> Reply:
        self._junk += 1
        if self._junk >= self._limits.junk_commands:
            return self.protocol(421, "4.7.0", "Too many unknown commands", close=True)
        return self.protocol(code, "5.5.1" if code == 502 else "5.5.2", text)

    # ---- hello

    async def _ehlo(self, argument: bytes) -> Reply:
        refusal = await self._reception.say_hello("EHLO", _hello_name(argument, "EHLO"))
        if refusal is not None:
            return refusal
        words = ["PIPELINING", f"SIZE {self._limits.message_octets}", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES"]
        if self._reception.connection.tls is None and self._tls_offered():
            words.append("STARTTLS")
        return Reply(250, "", self._hostname, more=tuple(words))

    async def _helo(self, argument: bytes) -> Reply:
        refusal = await self._reception.say_hello("HELO", _hello_name(argument, "HELO"))
        return refusal or Reply(250, "", self._hostname)

    # ---- the transaction

    async def _mail(self, argument: bytes) -> Reply:
        reception = self._reception
        if reception.hello is None:
            raise _Refused(503, "5.5.1", "Say EHLO or HELO first")
        if reception.envelope is not None:
            raise _Refused(503, "5.5.1", "A transaction is open already")
        path, parameters = _path(argument, "FROM:", "5.1.7")
        size, body, smtputf8 = _mail_parameters(parameters)
        if not path.isascii() and not smtputf8:
            raise _Refused(553, "5.6.7", "An address that is not ASCII needs SMTPUTF8")
        try:
            reverse_path = address.parse_reverse_path(path)
        except address.AddressError as error:
            raise _Refused(501, "5.1.7", f"Bad reverse-path: {error}") from error
        if self._transactions >= self._limits.transactions:
            return self.reason("too-many-transactions")
        self._transactions += 1
        return await reception.mail(reverse_path, size=size, body=body, smtputf8=smtputf8)

    async def _rcpt(self, argument: bytes) -> Reply:
        envelope = self._reception.envelope
        if envelope is None:
            raise _Refused(503, "5.5.1", "MAIL first")
        path, parameters = _path(argument, "TO:", "5.1.3")
        if parameters:
            raise _Refused(555, "5.5.4", "RCPT parameters are not offered")
        if not path.isascii() and not envelope.smtputf8:
            raise _Refused(553, "5.6.7", "An address that is not ASCII needs SMTPUTF8")
        if path.lower() == "<postmaster>":
            return await self._reception.rcpt(None)
        try:
            mailbox = address.parse_forward_path(path)
        except address.AddressError as error:
            raise _Refused(501, "5.1.3", f"Bad forward-path: {error}") from error
        return await self._reception.rcpt(mailbox)

    async def _data(self, argument: bytes) -> Reply:
        _no_argument(argument, "DATA")
        envelope = self._reception.envelope
        if envelope is None:
            raise _Refused(503, "5.5.1", "MAIL and RCPT first")
        if not envelope.recipients:
            return self.reason("no-valid-recipients")
        return Reply(354, "", "End data with <CR><LF>.<CR><LF>")

    async def _rset(self, argument: bytes) -> Reply:
        _no_argument(argument, "RSET")
        self._reception.reset()
        return Reply(250, "2.0.0", "Ok")

    # ---- the rest

    async def _noop(self, _argument: bytes) -> Reply:
        return Reply(250, "2.0.0", "Ok")

    async def _quit(self, argument: bytes) -> Reply:
        _no_argument(argument, "QUIT")
        return Reply(221, "2.0.0", "Bye", close=True)

    async def _help(self, _argument: bytes) -> Reply:
        return Reply(214, "2.0.0", "See RFC 5321")

    async def _vrfy(self, argument: bytes) -> Reply:
        if not argument:
            raise _Refused(501, "5.5.4", "Syntax: VRFY address")
        return Reply(252, "2.0.0", "Cannot verify, send some mail and see")

    async def _expn(self, _argument: bytes) -> Reply:
        raise _Refused(502, "5.5.1", "Command is not offered")

    async def _starttls(self, argument: bytes) -> Reply:
        _no_argument(argument, "STARTTLS")
        if self._reception.connection.tls is not None:
            raise _Refused(503, "5.5.1", "TLS is active already")
        if not self._tls_offered():
            raise _Refused(454, "4.7.0", "TLS is not available now")
        return Reply(220, "2.0.0", "Ready to start TLS")


_VERBS: dict[str, Callable[[Commands, bytes], Awaitable[Reply]]] = {
    "EHLO": Commands._ehlo,
    "HELO": Commands._helo,
    "MAIL": Commands._mail,
    "RCPT": Commands._rcpt,
    "DATA": Commands._data,
    "RSET": Commands._rset,
    "NOOP": Commands._noop,
    "QUIT": Commands._quit,
    "HELP": Commands._help,
    "VRFY": Commands._vrfy,
    "EXPN": Commands._expn,
    "STARTTLS": Commands._starttls,
}


def _no_argument(argument: bytes, verb: str) -> None:
    if argument:
        raise _Refused(501, "5.5.4", f"{verb} takes no argument")


def _hello_name(argument: bytes, verb: str) -> str:
    try:
        name = argument.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _Refused(501, "5.5.2", f"{verb} name is not UTF-8") from error
    if not name or " " in name or _CONTROL.search(name) or len(argument) > 255:
        raise _Refused(501, "5.5.4", f"Syntax: {verb} hostname")
    return name


def _path(argument: bytes, prefix: str, status: str) -> tuple[str, list[str]]:
    """The path with its brackets and the parameters."""
    if argument[: len(prefix)].upper() != prefix.encode("ascii"):
        raise _Refused(501, "5.5.4", f"Expected {prefix}<address>")
    try:
        path, rest = address.split_path(argument[len(prefix) :].decode("utf-8"))
    except UnicodeDecodeError as error:
        raise _Refused(501, status, "The address is neither ASCII nor UTF-8") from error
    except address.AddressError as error:
        raise _Refused(501, status, f"Bad address: {error}") from error
    return path, rest.split()


def _mail_parameters(parameters: list[str]) -> tuple[int | None, str, bool]:
    """SIZE (RFC 1870), BODY (RFC 6152) and SMTPUTF8 (RFC 6531)."""
    given: dict[str, str | None] = {}
    for parameter in parameters:
        keyword, equals, value = parameter.partition("=")
        keyword = keyword.upper()
        if keyword not in ("SIZE", "BODY", "SMTPUTF8"):
            raise _Refused(555, "5.5.4", "Unknown MAIL parameter")
        if keyword in given:
            raise _Refused(501, "5.5.4", f"{keyword} is given twice")
        given[keyword] = value if equals else None
    size = given.get("SIZE", "0")
    body = (given.get("BODY", "7BIT") or "").upper()
    if size is None or not _SIZE.fullmatch(size):
        raise _Refused(501, "5.5.4", "SIZE needs a number of octets")
    if body not in ("7BIT", "8BITMIME"):
        raise _Refused(501, "5.5.4", "BODY is 7BIT or 8BITMIME")
    if given.get("SMTPUTF8") is not None:
        raise _Refused(501, "5.5.4", "SMTPUTF8 takes no value")
    return (int(size) if "SIZE" in given else None), body, "SMTPUTF8" in given
