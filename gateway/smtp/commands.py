"""The verbs of a session (RFC 5321 section 4.1): a command line in, a reply out; states and syntax, no socket.

DATA, BDAT, STARTTLS and QUIT are judged here and carried out by the session. What may be said when stands in
``states``; what concerns mail is the reception's matter.

Known gaps: none; AUTH and ETRN are for submission and for clients that fetch, neither of which comes here.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from gateway.mail import address
from gateway.mail.advertised import ehlo_words
from gateway.mail.limits import WireLimits
from gateway.mail.reply import Reply, reply_for
from gateway.mail.transaction import Envelope
from gateway.reception import Reception
from gateway.smtp.bdat import Chunk, parse_chunk
from gateway.smtp.parameters import MAIL, Refused, mail_parameters, rcpt_parameters
from gateway.smtp.states import Chunking, State, refusal, state_of
from gateway.smtp.xclient import OFFERED, Told, XclientError, take

NOT_SMTP: Final = frozenset(
    {"GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "CONNECT", "PATCH", "TRACE", "PRI", "HOST:", "USER-AGENT:"}
)
"""Words of other protocols: a browser or a scanner was led here, and behind them comes text of a third party."""
NOT_OFFERED: Final = frozenset({"AUTH", "ETRN", "TURN", "ATRN", "SEND", "SOML", "SAML", "XCLIENT", "XFORWARD"})
FRUITLESS: Final = frozenset({"NOOP", "RSET", "HELP", "VRFY", "EXPN", "EHLO", "HELO"})
"""Verbs that bring no mail; a RCPT that is refused or repeated is another."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class Commands:
    """The commands of one session. tls_offered: tells whether STARTTLS can be had now. chunking: how far the chunks of
    the open transaction have come."""

    def __init__(
        self,
        reception: Reception,
        hostname: str,
        limits: WireLimits,
        tls_offered: Callable[[], bool],
        xclient: Told | None = None,
        chunking: Callable[[], Chunking] = lambda: Chunking.NONE,
    ) -> None:
        self._reception = reception
        self._hostname = hostname
        self._limits = limits
        self._tls_offered = tls_offered
        self._xclient = xclient
        self._chunking = chunking
        self._junk = 0
        self._fruitless = 0
        self._transactions = 0
        self.own_refusal = False
        """The last answer was refused here, so the reception has not counted it."""

    @property
    def state(self) -> State:
        """Where the session stands."""
        envelope = self._reception.envelope
        return state_of(
            hello=self._reception.hello is not None,
            transaction=envelope is not None,
            recipients=bool(envelope and envelope.recipients),
            chunking=self._chunking(),
        )

    async def answer(self, line: bytes) -> tuple[str, Reply]:
        """The verb in upper case ('?' for none that we know) and the reply. Raises only what the reception raises."""
        self.own_refusal = False
        word, _, rest = line.partition(b" ")
        verb = word.decode("ascii", "replace").upper()
        if verb in NOT_SMTP:
            return "?", self.protocol(421, "4.7.0", "This is not a web server", close=True)
        if verb == "PROXY" and self._reception.hello is None:
            # its balancer would be taken for the client
            why = "a PROXY header where none is expected, or from a peer that is not trusted"
            return "?", self._reception.refuse_connection("proxy-protocol", why)
        if verb == "XCLIENT" and self._xclient is not None:
            return verb, self._take_xclient(rest, self._xclient)
        if verb in NOT_OFFERED:
            return "?", self._count_junk(502, "Command is not offered")
        method = _VERBS.get(verb)
        if method is None:
            return "?", self._count_junk(500, "Command not recognised")
        refused = refusal(self.state, verb)
        if refused is not None:
            return verb, self.protocol(*refused)
        before = self._reception.envelope
        try:
            reply = await method(self, rest.strip(b" \t"))
        except Refused as error:
            reply = self.protocol(*error.parts)
        return verb, self._count_fruitless(verb, reply, before)

    def chunk(self, line: bytes) -> Chunk | Reply | None:
        """What a BDAT announces, with the refusal that the state asks for; None: the line is no BDAT. A Reply: nobody
        knows how many octets follow, so the session ends with it."""
        word, _, rest = line.partition(b" ")
        if word.upper() != b"BDAT":
            return None
        self.own_refusal = False
        chunk = parse_chunk(rest.strip(b" \t"))
        if chunk is None:
            return self.protocol(501, "5.5.4", "Syntax: BDAT octets [LAST]", close=True)
        refused = refusal(self.state, "BDAT")
        self.own_refusal = refused is not None
        return replace(chunk, refusal=refused)

    def protocol(self, code: int, enhanced: str, text: str, close: bool = False) -> Reply:
        """A refusal of the protocol itself, with the id that a foreign postmaster can quote."""
        return self._refuse(Reply(code, enhanced, f"{text} [{self._reception.id}]", close=close))

    def reason(self, reason: str) -> Reply:
        """A reply of the table."""
        return self._refuse(reply_for(reason, self._reception.id))

    def _refuse(self, reply: Reply) -> Reply:
        self.own_refusal = True
        self._reception.refused_by_protocol(reply)
        return reply

    def _count_junk(self, code: int, text: str) -> Reply:
        self._junk += 1
        if self._junk >= self._limits.junk_commands:
            return self.protocol(421, "4.7.0", "Too many unknown commands", close=True)
        return self.protocol(code, "5.5.1" if code == 502 else "5.5.2", text)

    def _count_fruitless(self, verb: str, reply: Reply, before: Envelope | None) -> Reply:
        # cheap for the client and not quite so for us: without an end, one session keeps a worker busy
        if verb == "MAIL" and reply.code == 250:
            self._fruitless = 0
        elif verb in FRUITLESS or (verb == "RCPT" and self._reception.envelope is before):
            self._fruitless += 1
            if self._fruitless > self._limits.fruitless_commands:
                return self.reason("too-many-errors")
        return reply

    # ---- the client as a listed host tells it

    def xclient_told(self) -> Told:
        """What the session starts over with after XCLIENT."""
        assert self._xclient is not None
        return self._xclient

    def _take_xclient(self, argument: bytes, before: Told) -> Reply:
        if self._reception.envelope is not None:
            return self.protocol(503, "5.5.1", "A transaction is open")
        try:
            before = replace(before, connection=self._reception.connection)
            self._xclient = take(argument.decode("ascii", "replace"), before)
        except XclientError as error:
            return self.protocol(501, "5.5.4", f"Bad XCLIENT: {error}")
        return Reply(220, "", self._hostname)

    async def _hello(self, verb: str, argument: bytes) -> Reply | None:
        name = _hello_name(argument, verb)
        if self._xclient is not None:
            # the hello is that of the host which speaks for its client
            verb, name = self._xclient.verb or verb, self._xclient.hello or name
        return await self._reception.say_hello(verb, name)

    # ---- hello

    async def _ehlo(self, argument: bytes) -> Reply:
        refusal = await self._hello("EHLO", argument)
        if refusal is not None:
            return refusal
        words = list(ehlo_words(self._limits))
        if self._reception.offers_requiretls:
            words.append("REQUIRETLS")
        if self._reception.connection.tls is None and self._tls_offered():
            words.append("STARTTLS")
        if self._xclient is not None:
            words.append(OFFERED)
        return Reply(250, "", self._hostname, more=tuple(words))

    async def _helo(self, argument: bytes) -> Reply:
        refusal = await self._hello("HELO", argument)
        return refusal or Reply(250, "", self._hostname)

    # ---- the transaction

    async def _mail(self, argument: bytes) -> Reply:
        reception = self._reception
        path, words = _path(argument, "FROM:", "5.1.7")
        given = mail_parameters(words, MAIL if reception.offers_requiretls else MAIL - {"REQUIRETLS"})
        if not path.isascii() and not given.smtputf8:
            raise Refused(553, "5.6.7", "An address that is not ASCII needs SMTPUTF8")
        try:
            reverse_path = address.parse_reverse_path(path)
        except address.AddressError as error:
            raise Refused(501, "5.1.7", f"Bad reverse-path: {error}") from error
        if self._transactions >= self._limits.transactions:
            return self.reason("too-many-transactions")
        self._transactions += 1
        return await reception.mail(
            reverse_path,
            size=given.size,
            body=given.body,
            smtputf8=given.smtputf8,
            prdr=given.prdr,
            requiretls=given.requiretls,
            dsn=given.dsn,
        )

    async def _rcpt(self, argument: bytes) -> Reply:
        envelope = self._reception.envelope
        assert envelope is not None
        path, words = _path(argument, "TO:", "5.1.3")
        dsn = rcpt_parameters(words)
        if not path.isascii() and not envelope.smtputf8:
            raise Refused(553, "5.6.7", "An address that is not ASCII needs SMTPUTF8")
        if path.lower() == "<postmaster>":
            return await self._reception.rcpt(None, dsn)
        try:
            mailbox = address.parse_forward_path(path)
        except address.AddressError as error:
            raise Refused(501, "5.1.3", f"Bad forward-path: {error}") from error
        return await self._reception.rcpt(mailbox, dsn)

    async def _data(self, argument: bytes) -> Reply:
        _no_argument(argument, "DATA")
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
            raise Refused(501, "5.5.4", "Syntax: VRFY address")
        return Reply(252, "2.0.0", "Cannot verify, send some mail and see")

    async def _expn(self, _argument: bytes) -> Reply:
        raise Refused(502, "5.5.1", "Command is not offered")

    async def _starttls(self, argument: bytes) -> Reply:
        _no_argument(argument, "STARTTLS")
        if self._reception.connection.tls is not None:
            raise Refused(503, "5.5.1", "TLS is active already")
        if not self._tls_offered():
            raise Refused(454, "4.7.0", "TLS is not available now")
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
        raise Refused(501, "5.5.4", f"{verb} takes no argument")


def _hello_name(argument: bytes, verb: str) -> str:
    try:
        name = argument.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused(501, "5.5.2", f"{verb} name is not UTF-8") from error
    if not name or " " in name or _CONTROL.search(name) or len(argument) > 255:
        raise Refused(501, "5.5.4", f"Syntax: {verb} hostname")
    return name


def _path(argument: bytes, prefix: str, status: str) -> tuple[str, list[str]]:
    """The path with its brackets and the parameters."""
    if argument[: len(prefix)].upper() != prefix.encode("ascii"):
        raise Refused(501, "5.5.4", f"Expected {prefix}<address>")
    try:
        path, rest = address.split_path(argument[len(prefix) :].decode("utf-8"))
    except UnicodeDecodeError as error:
        raise Refused(501, status, "The address is neither ASCII nor UTF-8") from error
    except address.AddressError as error:
        raise Refused(501, status, f"Bad address: {error}") from error
    return path, rest.split()
