"""The knobs of each check, as they stand under ``checks:`` in a policy file; times in seconds.

Frozen pydantic models: unknown keys are errors, defaults are the figures of docs/policy.md. Every check can be
switched off with ``enabled: false``; then it has no finding at all.

Known gaps: none.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator

from gateway.mail import limits
from gateway.mail.address import parse_domain

Network = IPv4Network | IPv6Network


class CheckSettings(BaseModel):
    """What every check has."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    enabled: bool = True


class BlockSettings(CheckSettings):
    """Emergency blocks of the cluster (``mxgw block``); the blocks themselves stand on the cluster's board."""


class IprevSettings(CheckSettings):
    """Forward-confirmed reverse DNS (RFC 8601 section 3)."""

    max_names: int = Field(10, ge=1, le=50, description="PTR names that are looked up")


class HeloSettings(CheckSettings):
    """HELO and EHLO name."""

    own_names: tuple[str, ...] = Field((), description="names that only we may use; the host name is always one")
    resolve: bool = Field(True, description="look the name up (A, AAAA, MX)")


class DnsblSettings(CheckSettings):
    """DNS block and allow lists in the syntax of postscreen_dnsbl_sites: ``domain=filter*weight``. How the lists are
    watched, and whose addresses are ours, is said for all profiles by the default one."""

    sites: tuple[str, ...] = Field(
        (), description="[name:]domain[=127.0.0.[2..11]][*weight]; negative weights allow; people see the name"
    )
    query_timeout: float = Field(2.0, gt=0, le=10)
    ipv6: bool = Field(True, description="ask about IPv6 clients too")
    domain_sites: tuple[str, ...] = Field(
        (), description="[name:]domain: lists of domains; they are watched and mxgw rbl asks them, no rule uses them"
    )
    watch: bool = Field(True, description="lists that fail their own test points are out of every decision")
    unwatched: tuple[str, ...] = Field((), description="names of lists that have no test points (RFC 5782 section 5)")
    check_every: float = Field(30.0, gt=0, le=60, description="one node of the cluster looks at each list so often")
    node_check_every: float = Field(300.0, gt=0, description="and every node by itself")
    back_after: int = Field(10, ge=1, le=1000, description="sound looks in a row after which a list counts again")
    hit_ratio: float = Field(0.6, gt=0, le=1, description="a list that holds more than this share of the clients")
    hit_factor: float = Field(5.0, ge=1, description="and more than so many times its mean of 24 hours is out")
    hit_window: float = Field(60.0, gt=0, le=3600, description="the share is taken over one or two of these")
    hit_least: int = Field(50, ge=1, description="of fewer clients nothing is concluded")
    own_addresses: tuple[IPv4Address | IPv6Address, ...] = Field(
        (), description="addresses of ours beside those of the served domains' MX hosts; lists that hold them are told"
    )
    own_every: float = Field(900.0, gt=0, description="our own addresses are asked about so often")


class AsnSettings(CheckSettings):
    """The client's AS and country by a DNS zone with routing data, as origin.asn.cymru.com is one. Off until a zone is
    named."""

    ipv4_zone: str = Field("", description="is asked 4.3.2.1.ZONE for TXT: 64496 | 192.0.2.0/24 | DE | ripencc |")
    ipv6_zone: str = Field("", description="the same for IPv6 clients, by nibbles")

    @field_validator("ipv4_zone", "ipv6_zone")
    @classmethod
    def _domain(cls, text: str) -> str:
        return text and parse_domain(text)

    @property
    def asks(self) -> bool:
        """Whether any client is asked about."""
        return self.enabled and bool(self.ipv4_zone or self.ipv6_zone)


class ClientLimits(BaseModel):
    """What one client address may do in a window; 0 means no limit."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    window: float = Field(60.0, gt=0)
    connections: int = Field(0, ge=0)
    sessions: int = Field(50, ge=0, description="at the same time, on all nodes together")
    messages: int = Field(0, ge=0)
    recipients: int = Field(0, ge=0)
    unknown: int = Field(0, ge=0, description="recipients that do not exist")
    errors: int = Field(0, ge=0, description="5yz replies")


class DomainLimits(BaseModel):
    """What one reverse-path domain may do in a window; 0 means no limit. Mail with an SPF pass has a budget of its own,
    so that forgers do not use up that of the domain's owner."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    window: float = Field(3600.0, gt=0)
    messages: int = Field(0, ge=0)
    recipients: int = Field(0, ge=0)
    unknown: int = Field(0, ge=0, description="recipients that do not exist")


class RecipientLimits(BaseModel):
    """What one recipient gets in a window from all clients together; 0 means no limit."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    window: float = Field(3600.0, gt=0)
    messages: int = Field(0, ge=0)


class RateSettings(CheckSettings):
    """Limits of one client network in one minute, on all nodes together, and beside them those of one client, one
    reverse-path domain and one recipient; 0 means no limit. Unknown recipients of a network: see ``recipient``."""

    connections: int = Field(60, ge=0)
    sessions: int = Field(200, ge=0, description="of a /24 or /64 at the same time, on all nodes together")
    messages: int = Field(120, ge=0)
    recipients: int = Field(1000, ge=0)
    errors: int = Field(300, ge=0, description="5yz replies")
    window: float = Field(60.0, gt=0)
    ipv4_prefix: int = Field(24, ge=8, le=32)
    ipv6_prefix: int = Field(64, ge=16, le=128)
    client: ClientLimits = ClientLimits()
    domain: DomainLimits = DomainLimits()
    recipient: RecipientLimits = RecipientLimits()
    exempt: tuple[Network, ...] = ()
    lease: float = Field(60.0, ge=2, description="seconds after which the sessions of a dead node no longer count")
    on_store_error: Literal["local", "open", "closed"] = Field(
        "local",
        description="local: each worker goes on with its share, half as much again; open: nobody is limited; closed: "
        "who might be refused is deferred",
    )



class ReputationSettings(CheckSettings):
    """What verdicts have taught about networks and authenticated domains; from -10 (good) to 10 (bad)."""

    half_life: float = Field(7 * 86400.0, gt=0, description="seconds after which half is forgotten")
    least: float = Field(3.0, gt=0, description="knowledge below which the score stays near 0")
    bad_score: float = Field(5.0, gt=0, le=10, description="fail at this and above")
    good_score: float = Field(-5.0, ge=-10, lt=0, description="pass at this and below")
    ipv4_prefix: int = Field(24, ge=8, le=32)
    ipv6_prefix: int = Field(64, ge=16, le=128)


class GreylistSettings(CheckSettings):
    """Greylisting (RFC 6647). suspicious: only first contacts that look odd; unknown: all without an SPF pass or a
    sound reverse name; all: everybody; learn records and never defers."""

    _forwarders: ForwarderSettings | None = PrivateAttr(None)

    @property
    def forwarders(self) -> ForwarderSettings:
        """``checks.forwarder`` beside it."""
        return self._forwarders or ForwarderSettings()

    def beside(self, forwarders: ForwarderSettings) -> GreylistSettings:
        """The same that knows the forwarders."""
        copy = self.model_copy()
        copy._forwarders = forwarders
        return copy

    mode: Literal["off", "learn", "suspicious", "unknown", "all"] = "suspicious"
    delay: float = Field(120.0, ge=0, description="seconds; mode all uses delay_all")
    delay_all: float = Field(300.0, ge=0)
    window: float = Field(86400.0, gt=0, description="a retry counts so long; 172800 for a site with little mail")
    learn_window: float = Field(14 * 86400.0, gt=0, description="mode learn: what is seen once is remembered so long")
    pass_lifetime: float = Field(36 * 86400.0, gt=0, description="from its last use")
    auto_allow_after: int = Field(
        2, ge=0, le=20, description="passes of different senders after which a client waits no more; 0: never"
    )
    auto_allow_window: float = Field(7 * 86400.0, gt=0, description="older passes do not count for auto_allow_after")
    at_content: bool = Field(
        False, description="mode suspicious: who has neither SPF nor DKIM for the author waits too, after the content"
    )
    answer: Literal["seconds", "plain", "neutral"] = Field(
        "seconds", description="the reply names the seconds left, only greylisting, or neither"
    )
    ipv4_prefix: int = Field(24, ge=8, le=32)
    ipv6_prefix: int = Field(64, ge=16, le=128)
    exempt_clients: tuple[Network, ...] = Field(
        (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128")), description="networks that never wait"
    )
    exempt_pools: bool = Field(True, description="large senders' pools that come with the product never wait")
    exempt_domains: tuple[str, ...] = Field(
        (), description="and these: reverse-path domains or SPF includes (SPF pass needed), confirmed reverse names"
    )
    exempt_local_parts: tuple[str, ...] = ("postmaster", "abuse")
    dnsbl_score: float = Field(0.0, ge=0, description="a score above 0 and not below this is suspicious")
    on_store_error: Literal["local", "open", "closed"] = Field(
        "local",
        description="local: who passed in this process's last day is known, for others the posture speaks; open: "
        "nobody waits; closed: who might have to wait is deferred",
    )


class RecipientSettings(CheckSettings):
    """Ask the mailstore whether the recipient exists."""

    positive_ttl: float = Field(86400.0, gt=0)
    negative_ttl: float = Field(3600.0, gt=0)
    stale_ttl: float = Field(7 * 86400.0, gt=0, description="a known one is believed so long while nobody answers")
    unknown_limit: int = Field(
        10, ge=0, description="unknown recipients of one client network in the window; 0: no limit"
    )
    unknown_window: float = Field(600.0, gt=0)
    ipv4_prefix: int = Field(24, ge=8, le=32)
    ipv6_prefix: int = Field(64, ge=16, le=128)


class SpfSettings(CheckSettings):
    """SPF (RFC 7208)."""

    timeout: float = Field(20.0, gt=0, le=60)
    helo: bool = Field(True, description="check the HELO identity too and show it; it never changes the outcome")


class DkimSettings(CheckSettings):
    """DKIM (RFC 6376, 8301, 8463)."""

    max_signatures: int = Field(8, ge=1, le=50)
    min_rsa_bits: int = Field(1024, ge=1024, le=4096)
    partial_body: Literal["evidence", "pass"] = Field("evidence", description="what a signature with l= is worth")
    short_key: Literal["mark", "refuse"] = Field(
        "mark", description="RSA keys of less than 2,048 bits: a pass that is marked, or no pass"
    )


class DmarcSettings(CheckSettings):
    """DMARC (RFC 9989)."""

    compare_public_suffix_list: bool = Field(
        False, description="say in the finding what RFC 7489 with the public suffix list would have found"
    )


class ForwarderSettings(CheckSettings):
    """Forwarders and mailing lists whose messages DMARC alone does not refuse."""

    clients: tuple[Network, ...] = Field((), description="networks of forwarders that keep the author's reverse-path")
    domains: tuple[str, ...] = Field(
        (), description="forwarders and lists that prove themselves by SPF or DKIM; *.example.org for all below"
    )


class ExternalRelaySettings(CheckSettings):
    """Relays that take mail in for us: a filtering provider, a front line, a secondary MX. No check judges their
    address; at the content the client behind them, by their Received fields, is judged in their place. The default
    profile says whose sessions these are."""

    trusted: tuple[Network, ...] = Field(
        (), description="networks from which nothing comes but these relays; each of them writes a Received field"
    )
    private: bool = Field(
        False, description="private and loopback addresses in their fields are inside; only where no stranger has one"
    )


class ArcSettings(CheckSettings):
    """ARC (RFC 8617): evidence only; an override needs a sealer listed here."""

    trusted_sealers: tuple[str, ...] = ()
    max_sets: int = Field(50, ge=1, le=50)


class LoopSettings(CheckSettings):
    """Mail loops by the count of Received fields (RFC 5321 section 6.3)."""

    max_received: int = Field(limits.RECEIVED_FIELDS, ge=10, le=1000)


class PregreetSettings(CheckSettings):
    """Early talkers (RFC 5321 section 4.3.1); how long they are waited for is ``limits.greeting_delay`` of a node."""


class ContentSettings(BaseModel):
    """Rules of the wire that are policy: bare CR or LF in content."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    bare_line_ending: Literal["refuse", "normalize"] = "refuse"


class ChecksSettings(BaseModel):
    """``checks:`` of a policy: one section a check, by the names of ``gateway.checks.CHECKS``."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    block: BlockSettings = BlockSettings()
    iprev: IprevSettings = IprevSettings()
    pregreet: PregreetSettings = PregreetSettings()
    helo: HeloSettings = HeloSettings()
    dnsbl: DnsblSettings = DnsblSettings()
    asn: AsnSettings = AsnSettings()
    rate: RateSettings = RateSettings()
    reputation: ReputationSettings = ReputationSettings()
    greylist: GreylistSettings = GreylistSettings()
    recipient: RecipientSettings = RecipientSettings()
    spf: SpfSettings = SpfSettings()
    dkim: DkimSettings = DkimSettings()
    dmarc: DmarcSettings = DmarcSettings()
    arc: ArcSettings = ArcSettings()
    forwarder: ForwarderSettings = ForwarderSettings()
    external_relay: ExternalRelaySettings = ExternalRelaySettings()
    loop: LoopSettings = LoopSettings()

    _greylist: GreylistSettings = PrivateAttr()

    def model_post_init(self, _context: object, /) -> None:
        """Greylisting spares the forwarders of the section beside it."""
        self._greylist = self.greylist.beside(self.forwarder)

    def of(self, check: str) -> CheckSettings:
        """The section of a check; KeyError-like AttributeError for an unknown name."""
        section = self._greylist if check == "greylist" else getattr(self, check)
        assert isinstance(section, CheckSettings)
        return section
