"""What is fuzzed: each target takes octets and raises for what must not be. hypothesis, atheris and the corpus share them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from fuzz.memory_link import converse, judge

from gateway.auth.author import author
from gateway.auth.dkim_key import parse_key
from gateway.auth.dkim_signature import once_counts, read_signature
from gateway.auth.dkim_tags import TagError, decode_base64, parse_tags, without_b_value, words
from gateway.auth.dmarc_record import choose_record
from gateway.auth.spf_eval import SpfEvaluation, SpfQuestion
from gateway.delivery.url import MailstoreUrl
from gateway.delivery.wire import Wire, _Octets
from gateway.mail.address import (
    AddressError,
    Mailbox,
    parse_domain,
    parse_forward_path,
    parse_literal,
    parse_reverse_path,
    split_path,
)
from gateway.mail.authres import claims
from gateway.mail.dnsbl_site import parse_site
from gateway.mail.dsn import DsnError, MailDsn, RcptDsn, parse_envid, parse_notify, parse_orcpt, parse_ret
from gateway.mail.finding import Outcome
from gateway.mail.message import Message, OutgoingMessage
from gateway.mail.mime_shape import too_complex
from gateway.mail.transaction import Connection
from gateway.ports.failure import PortFailure
from gateway.smtp.proxy import ProxyError, parse_proxy_header
from gateway.smtp.xclient import Told, XclientError, take

CUT = b"|>"
"""Between two segments in the octets of a session."""
SEGMENT = 65536


def session(octets: bytes) -> None:
    """The first octet: 1 normalises bare line endings, 2 puts a PROXY listener there, 4 sends octet by octet."""
    flags, rest = (octets[0], octets[1:]) if octets else (0, b"")
    if flags & 4:
        pieces = [bytes([octet]) for octet in rest[:5000]]
    else:
        pieces = [part[n : n + SEGMENT] for part in rest.split(CUT) for n in range(0, len(part), SEGMENT)]
    outcome = asyncio.run(converse(pieces, bare="normalize" if flags & 1 else "refuse", proxy=bool(flags & 2)))
    judge(outcome, SEGMENT)
    first = [code for code, _ in outcome.replies][:1]
    # a balancer's probe may speak first
    assert flags & 2 or first in ([], [220], [421], [554]), first


def command(octets: bytes) -> None:
    """One command line, in each state of a session: each gets one reply."""
    line = octets.translate(None, b"\r\n\0")[:2000]
    if line[:4].upper() in (b"DATA", b"BDAT", b"QUIT") or line[:8].upper() == b"STARTTLS":
        return
    states = [b"EHLO c.example\r\n", b"MAIL FROM:<> SMTPUTF8\r\n", b"RCPT TO:<u@example.com>\r\n"]
    outcome = asyncio.run(converse([line + b"\r\n", *(state + line + b"\r\n" for state in states), b"QUIT\r\n"]))
    judge(outcome, SEGMENT)
    codes = [code for code, _ in outcome.replies]
    assert codes[-1] == 421 or (codes[-1] == 221 and len(codes) == 9), codes
    assert not outcome.kept


def address(octets: bytes) -> None:
    text = octets.decode("utf-8", "surrogateescape")
    found: list[Mailbox] = []
    for parse in (parse_forward_path, parse_reverse_path):
        try:
            path = parse(text)
        except AddressError:
            continue
        if isinstance(path, Mailbox):
            found.append(path)
    try:
        path_text, rest = split_path(text)
    except AddressError:
        pass
    else:
        assert path_text.startswith("<")
        assert path_text.endswith(">")
        assert text.lstrip(" ").startswith(path_text)
        assert rest in text
    for mailbox in found:
        again = parse_forward_path(f"<{mailbox}>") if len(str(mailbox)) < 200 else mailbox
        assert again == mailbox, (mailbox, again)
        assert "\r" not in str(mailbox)
        assert "\n" not in str(mailbox)
    try:
        assert parse_domain(parse_domain(text)) == parse_domain(text)
    except AddressError:
        pass
    parse_literal(text)


def message(octets: bytes) -> None:
    parsed = Message.parse(octets)
    assert parsed.size == len(octets)
    assert b"".join(parsed.raw(item) for item in parsed.fields) == octets[: parsed.fields[-1].end if parsed.fields else 0]
    assert octets.endswith(bytes(parsed.body))
    removed = tuple(item for n, item in enumerate(parsed.fields) if n % 2)
    outgoing = OutgoingMessage(parsed, b"X: y\r\n", removed)
    whole = b"".join(outgoing.chunks(7))
    assert len(whole) == outgoing.size
    assert b"".join(OutgoingMessage(parsed).chunks(5)) == octets
    author(parsed)
    for bound in (1, 3, 50):
        over = too_complex(parsed, depth=bound, parts=bound)
        assert over or bound < 50 or not too_complex(parsed, depth=10**6, parts=10**6)


def authres_claims(octets: bytes) -> None:
    value = octets.replace(b"\r", b"").replace(b"\n", b"")
    parsed = Message.parse(b"Authentication-Results: " + value + b"\r\n\r\n")
    claims(parsed, "mx.example.com")
    claims(Message.parse(octets), "mx.example.com")
    # ours in front of anything is ours
    ours = Message.parse(b"Authentication-Results: mx.example.com; " + value + b"\r\n\r\n")
    assert len(claims(ours, "mx.example.com")) == 1


def proxy(octets: bytes) -> None:
    try:
        header = parse_proxy_header(octets)
    except ProxyError as error:
        assert str(error).isprintable()
        return
    if header is None:
        return
    assert 0 < header.length <= len(octets)
    assert parse_proxy_header(octets[: header.length]) == header
    assert parse_proxy_header(octets[: header.length] + b"EHLO x\r\n") == header
    # too few octets are never enough and never a fault
    assert parse_proxy_header(octets[: header.length - 1]) is None


def dkim(octets: bytes) -> None:
    for call in (parse_tags, decode_base64):
        try:
            call(octets)
        except TagError as error:
            assert str(error).isprintable()
    words(octets)
    without_b_value(octets)
    parse_key(octets.decode("utf-8", "surrogateescape"))
    value = octets.replace(b"\r", b"").replace(b"\n", b"")
    parsed = Message.parse(b"DKIM-Signature: " + value + b"\r\nFrom: a@b.example\r\n\r\n")
    for arc in (False, True):
        read_signature(parsed, parsed.fields[0], once_counts(parsed), arc=arc)


def spf_record(octets: bytes) -> None:
    """The first line is the domain's policy, the others are what the DNS says to each question that follows."""
    policy, *answers = octets.decode("latin-1").split("\n")
    sender = parse_reverse_path("<a.b@sender.example>")
    evaluation = SpfEvaluation(ip_address("192.0.2.9"), sender, "mail.sender.example", 1.7e9)
    asked = 0
    step = evaluation.start()
    while isinstance(step, SpfQuestion):
        assert step.rtype in ("A", "AAAA", "TXT", "MX", "PTR"), step
        answer = "v=spf1 " + policy if not asked else answers[asked % len(answers)] if answers else ""
        asked += 1
        # ten terms (RFC 7208 section 4.6.4), each of ten names at most
        assert asked < 250, "there is no end"
        if answer == "!":
            step = evaluation.unanswered("no answer")
        elif step.rtype == "TXT":
            step = evaluation.answered([answer] if answer else [])
        elif step.rtype == "MX":
            step = evaluation.answered([f"{n} mx{n}.sender.example." for n in range(len(answer) % 14)])
        elif step.rtype == "PTR":
            step = evaluation.answered([f"h{n}.sender.example" for n in range(len(answer) % 14)])
        else:
            step = evaluation.answered(["192.0.2.1" if step.rtype == "A" else "2001:db8::1"] if answer else [])
    evaluation.close()
    assert isinstance(step.outcome, Outcome)
    for text in (step.problem,):
        assert text.isprintable()


def xclient(octets: bytes) -> None:
    told = Told(Connection("S", ip_address("192.0.2.9"), 1, ip_address("192.0.2.1"), 25))
    try:
        after = take(octets.decode("ascii", "replace"), told)
    except XclientError as error:
        assert str(error).isprintable()
        return
    assert not any(char in after.hello for char in "\r\n\0 ")
    assert 0 <= after.connection.client_port <= 65535


def dsn(octets: bytes) -> None:
    text = octets.decode("utf-8", "surrogateescape")
    for parse in (parse_ret, parse_envid, parse_notify, parse_orcpt):
        try:
            value = parse(text)
        except DsnError as error:
            assert str(error).isprintable()
            continue
        mail = MailDsn(ret=value) if parse is parse_ret else MailDsn(envid=value) if parse is parse_envid else None
        rcpt = RcptDsn(notify=value) if parse is parse_notify else RcptDsn(orcpt=value) if parse is parse_orcpt else None
        sent = (mail or rcpt or MailDsn()).parameters
        # one parameter behind a command that a mailstore reads
        assert sent.count(" ") == 1, sent
        assert sent.isascii(), sent
        assert sent[1:].isprintable(), sent


def dmarc_record(octets: bytes) -> None:
    text = octets.decode("utf-8", "surrogateescape")
    choose_record([text])
    choose_record(["v=DMARC1;" + text])
    choose_record(text.split("\n"))


def from_field(octets: bytes) -> None:
    value = octets.replace(b"\r", b"").replace(b"\n", b"")
    found = author(Message.parse(b"From: " + value + b"\r\n\r\n"))
    for domain in found.domains:
        parse_domain(domain)


def dnsbl_site(octets: bytes) -> None:
    try:
        parse_site(octets.decode("utf-8", "replace"))
    except ValueError:
        pass


def mailstore_url(octets: bytes) -> None:
    try:
        MailstoreUrl.parse(octets.decode("utf-8", "replace"))
    except ValueError:
        pass


class _Deaf(asyncio.Transport):
    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None:
        pass


def mailstore_reply(octets: bytes) -> None:
    async def read() -> None:
        incoming = _Octets()
        wire = Wire(_Deaf(), incoming)
        incoming.connection_made(_Deaf())
        for n in range(0, len(octets), 1000):
            incoming.data_received(octets[n : n + 1000])
        incoming.eof_received()
        while True:
            try:
                reply = await wire.reply()
            except PortFailure:
                return
            assert 200 <= reply.code <= 599
            assert len(str(reply)) <= 300
            assert not reply.enhanced or reply.enhanced[0] in "245"
            assert reply.text is not None

    asyncio.run(read())


TARGETS: dict[str, Callable[[bytes], Any]] = {
    target.__name__: target
    for target in (
        session, command, address, message, authres_claims, proxy, xclient, dsn, dkim, spf_record, dmarc_record,
        from_field, dnsbl_site, mailstore_url, mailstore_reply,
    )
}  # fmt: skip
