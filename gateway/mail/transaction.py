"""The value that flows: connection, hello, envelope, content and what was found about them.

Frozen, one new value a step. RSET, a second MAIL, EHLO and STARTTLS drop the value; nothing is ever reset field by
field. A fact is what the peer gave us and stands here; what we learned about it is a finding.

Known gaps: BDAT chunks are joined before they come here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address
from types import MappingProxyType

from gateway.mail.address import Mailbox, ReversePath
from gateway.mail.dsn import MailDsn, RcptDsn
from gateway.mail.finding import Finding
from gateway.mail.message import Message
from gateway.mail.network import unmapped

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Tls:
    """The TLS of a session: protocol version ('TLSv1.3'), cipher ('TLS_AES_256_GCM_SHA384'), key bits, SNI name."""

    version: str
    cipher: str
    bits: int = 0
    server_name: str = ""


@dataclass(frozen=True, slots=True)
class ExternalRelay:
    """A relay that the policy trusts: its address and port, and, once the content has told of the client behind it, the
    name that the relay itself said, and in which Received field (1 on top) the search ended."""

    ip: Address
    port: int = 0
    hello: str = ""
    hop: int = 0
    why_unknown: str = ""  # why no client was found


@dataclass(frozen=True, slots=True)
class Connection:
    """What is known when the client has connected.

    session_id: ours, printable ASCII, unique in the cluster. client_known: False behind a balancer that hides the
    client's address, and for a relay that the policy trusts (external_relay); then no check may judge the address. At
    the content the client behind such a relay takes its place. proxy_ip: the balancer that sent a PROXY header.
    server_name: the host name that we greet with. proxy_endpoint: id of the AWS VPC endpoint before the balancer, or
    ''. early_talk: the client sent octets before our greeting.
    """

    session_id: str
    client_ip: Address
    client_port: int = 0
    local_ip: Address | None = None
    local_port: int = 25
    listener: str = ""
    proxy_ip: Address | None = None
    client_known: bool = True
    server_name: str = ""
    proxy_endpoint: str = ""
    early_talk: bool = False
    tls: Tls | None = None
    external_relay: ExternalRelay | None = None

    def __post_init__(self) -> None:
        # an IPv4 client on a socket for both families, or as a host tells of it, is the same client
        object.__setattr__(self, "client_ip", unmapped(self.client_ip))


@dataclass(frozen=True, slots=True)
class Hello:
    """EHLO or HELO: verb and the name exactly as given (printable ASCII or UTF-8, no controls)."""

    verb: str
    name: str


_NO_DSN: Mapping[Mailbox, RcptDsn] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Envelope:
    """Reverse-path, accepted recipients in order, and the parameters of MAIL. prdr: the client asked for a reply for
    each recipient. rcpt_dsn: RFC 3461 parameters of those recipients that have some."""

    reverse_path: ReversePath
    recipients: tuple[Mailbox, ...] = ()
    size: int | None = None  # SIZE=, octets
    body: str = "7BIT"  # BODY=: 7BIT or 8BITMIME
    smtputf8: bool = False
    prdr: bool = False
    requiretls: bool = False
    dsn: MailDsn = field(default_factory=MailDsn)
    rcpt_dsn: Mapping[Mailbox, RcptDsn] = field(default_factory=lambda: _NO_DSN)

    def with_recipient(self, mailbox: Mailbox, dsn: RcptDsn | None = None) -> Envelope:
        """A new value with one recipient more."""
        told = MappingProxyType({**self.rcpt_dsn, mailbox: dsn}) if dsn and dsn.parameters else self.rcpt_dsn
        return replace(self, recipients=(*self.recipients, mailbox), rcpt_dsn=told)


_NO_FINDINGS: Mapping[str, Finding] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Transaction:
    """One mail transaction (RFC 5321 section 3.3), from the connection on.

    id: stands in each reply, in Received and in the decision record. now: seconds since 1970 (UTC) at which the
    transaction began: the only clock a policy or an algorithm may read. rcpt: at phase rcpt, the forward-path in
    question, not yet among the envelope's recipients. findings: by check name, in the order of the table.
    """

    id: str
    connection: Connection
    now: float
    hello: Hello | None = None
    envelope: Envelope | None = None
    rcpt: Mailbox | None = None
    message: Message | None = None
    findings: Mapping[str, Finding] = field(default_factory=lambda: _NO_FINDINGS)
    policy_digest: str = ""

    def with_findings(self, found: Mapping[str, Finding]) -> Transaction:
        """A new value with these findings added (a later one of the same check replaces the earlier)."""
        return replace(self, findings=MappingProxyType({**self.findings, **found}))

    def as_connected(self) -> Transaction:
        """The same with the host that has the session, where that is a trusted relay and not the client."""
        relay, connection = self.connection.external_relay, self.connection
        if relay is None:
            return self
        plain = ExternalRelay(relay.ip, relay.port)
        hello = replace(self.hello, name=relay.hello) if self.hello and connection.client_known else self.hello
        connection = replace(
            connection, client_ip=relay.ip, client_port=relay.port, client_known=False, external_relay=plain
        )
        return replace(self, connection=connection, hello=hello)
