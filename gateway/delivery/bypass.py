"""Ways around the gateway: hosts of a domain that take its mail from anybody.

In: a domain, host names that strangers guess, and those that the operator knows. Each address is asked by
MAIL and RCPT; nothing is sent. A host that takes the recipient, or refuses it only as unknown, would take real mail,
and with it everything that the gateway refuses.

Known gaps: a host that refuses after the content only looks open; one that greylists is `unclear` at the first try.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address
from typing import Final

from gateway.delivery.handover import path_octets
from gateway.delivery.session import Dialect, Session, open_session, tls_context
from gateway.delivery.smtp_client import status_of
from gateway.delivery.url import MailstoreUrl
from gateway.delivery.wire import ClosingReply, Deadline, ServerReply, Timeouts
from gateway.mail.address import NULL, AddressError, Mailbox, ReversePath, parse_domain
from gateway.ports.dns import Resolver, addresses
from gateway.ports.failure import PortFailure
from gateway.ports.mailstore import Known
from gateway.ports.observer import NullObserver

GUESSES: Final = ("mail", "webmail", "owa", "exchange", "smtp", "mx", "mail2", "autodiscover")
"""Names below the domain that attackers try first."""
TENANT: Final = "mail.protection.outlook.com"
_ADDRESSES: Final = 4


class Result(StrEnum):
    """What a host said to mail that did not pass the gateway."""

    OPEN = "OPEN"
    CLOSED = "closed"
    UNCLEAR = "unclear"  # a temporary refusal (a greylisting host may take it at the second try), or 550 without why
    GATEWAY = "gateway"  # it greets as mxgw does
    SILENT = "silent"  # no such name, no connection: nothing to go around with


@dataclass(frozen=True, slots=True)
class Target:
    """A host (name or IP address) and port; why it is asked; and whether it speaks LMTP."""

    host: str
    port: int
    why: str
    lmtp: bool = False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What one address of a target said."""

    target: Target
    address: str
    result: Result
    detail: str = ""

    @property
    def open(self) -> bool:
        """Whether mail can go around the gateway here."""
        return self.result is Result.OPEN


async def targets_of(
    domain: str, dns: Resolver, *, given: Sequence[str] = (), gateways: Sequence[str] = (), look_up: bool = True
) -> list[Target]:
    """Whom to ask: the given ones (``host`` or ``host:port``), then guessed names, the Microsoft 365 tenant and MX
    hosts, as far as they exist and are no gateway. Raises ValueError for a given one that is no host."""
    targets = [parse_target(text) for text in given]
    if not look_up:
        return targets
    guessed = [Target(f"{label}.{domain}", 25, "usual name") for label in GUESSES]
    guessed.append(Target(domain, 25, "the domain itself"))
    guessed.append(Target(f"{domain.replace('.', '-')}.{TENANT}", 25, "Microsoft 365 tenant"))
    guessed += [Target(host, 25, "published MX") for host in await _mx_hosts(dns, domain)]
    ours = {name.lower() for name in gateways}
    for name in sorted(ours):
        ours |= set(await _addresses(dns, name))
    found = await asyncio.gather(*(_addresses(dns, target.host) for target in guessed))
    for target, hosts in zip(guessed, found, strict=True):
        if hosts and target.host not in ours and not ours.issuperset(hosts):
            targets.append(target)
    return list({(target.host, target.port): target for target in reversed(targets)}.values())[::-1]


def parse_target(text: str) -> Target:
    """``host``, ``host:port``, ``192.0.2.1:25``, ``[2001:db8::1]:25`` or ``lmtp://host:24``. Raises ValueError."""
    lmtp, place = text.startswith("lmtp://"), text.removeprefix("lmtp://").removeprefix("smtp://")
    host, colon, port = place.rpartition(":") if not place.endswith("]") else (place, "", "")
    if not colon:
        host, port = place, "24" if lmtp else "25"
    bare = host.removeprefix("[").removesuffix("]")
    try:
        ip_address(bare)
    except ValueError:
        try:
            bare = parse_domain(bare)
        except AddressError as error:
            raise ValueError(f"{text!r} is no host; write host, host:port or [IPv6 address]:port") from error
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"{text!r}: the port must be a number from 1 to 65535")
    return Target(bare, int(port), "given", lmtp)


@dataclass(frozen=True, slots=True)
class Question:
    """What each host is asked: our name in EHLO, the reverse-path, the recipient, and the seconds it has."""

    hello: str
    mailbox: Mailbox
    reverse_path: ReversePath = NULL
    timeout: float = 15.0


async def ask(target: Target, question: Question, dns: Resolver) -> list[Answer]:
    """Ask each address of the target (four at most). Never raises PortFailure."""
    hosts = await _addresses(dns, target.host)
    if not hosts:
        return [Answer(target, "", Result.SILENT, "no address")]
    return list(await asyncio.gather(*(_ask(target, host, question) for host in hosts[:_ADDRESSES])))


async def _ask(target: Target, address: str, question: Question) -> Answer:
    url = MailstoreUrl("lmtp" if target.lmtp else "smtp", address, target.port)
    patience = Timeouts(question.timeout, question.timeout, question.timeout)
    dialect = Dialect(url, question.hello, tls_context(url), patience, NullObserver())
    deadline = Deadline.after(question.timeout)
    try:
        session = await open_session(dialect, deadline)
    except PortFailure as failure:
        return Answer(target, address, _unopened(failure), str(failure.cause))
    try:
        return Answer(target, address, *await _dialog(session, question, deadline))
    except PortFailure as failure:
        result = Result.UNCLEAR if isinstance(failure, ClosingReply) else Result.CLOSED
        return Answer(target, address, result, str(failure.cause))
    finally:
        session.wire.quit()


def _unopened(failure: PortFailure) -> Result:
    if isinstance(failure, ClosingReply):
        return Result.UNCLEAR  # 421: perhaps another time
    return Result.CLOSED if failure.cause.detail.startswith(("greeting: 5", "EHLO: 5", "LHLO: 5")) else Result.SILENT


async def _dialog(session: Session, question: Question, deadline: Deadline) -> tuple[Result, str]:
    if "mxgw" in session.greeting.split():
        return Result.GATEWAY, session.greeting
    paths = (question.reverse_path, question.mailbox)
    utf8 = b" SMTPUTF8" if any(isinstance(path, Mailbox) and path.needs_smtputf8 for path in paths) else b""
    reply = await session.command(b"MAIL FROM:" + path_octets(question.reverse_path) + utf8 + b"\r\n", deadline)
    if reply.code // 100 == 5:
        return Result.CLOSED, str(reply)
    if reply.code // 100 == 2:
        reply = await session.command(b"RCPT TO:" + path_octets(question.mailbox) + b"\r\n", deadline)
    return _judged(reply), str(reply)


def _judged(reply: ServerReply) -> Result:
    try:
        known = status_of(reply).known
    except PortFailure:
        return Result.UNCLEAR
    if known is Known.NO and not reply.enhanced:
        return Result.UNCLEAR  # some say a plain 550 for "not you", some for "no such user"
    # "no such user" is said by a host that would take mail for those it has
    return Result.CLOSED if known is Known.UNVERIFIABLE else Result.OPEN


async def _mx_hosts(dns: Resolver, domain: str) -> Iterable[str]:
    try:
        answer = await dns.lookup(domain, "MX")
    except PortFailure:
        return ()
    return [host for host in (record.partition(" ")[2] for record in answer.records) if host]


async def _addresses(dns: Resolver, host: str) -> list[str]:
    """Addresses of a name, IPv4 first; an address is its own. [] where there is none or DNS does not answer."""
    try:
        return [str(ip_address(host))]
    except ValueError:
        pass
    found: list[str] = []
    for family in (4, 6):
        try:
            found += sorted(str(address) for address in await addresses(dns, host, family))
        except PortFailure:
            continue
    return found
