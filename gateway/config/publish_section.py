"""What the world is to read of us in DNS: MX hosts, SPF, DMARC, report addresses, and the MTA-STS policy (RFC 8461).

Known gaps: one set of MX hosts and one MTA-STS policy for all domains of the cluster.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from gateway.config.place import Address, split_address
from gateway.mail.address import AddressError, parse_domain, parse_mailbox


def _name(text: str) -> str:
    try:
        return parse_domain(text)
    except AddressError as error:
        raise ValueError("must be a domain name without a trailing dot") from error


def _pattern(text: str) -> str:
    return "*." + _name(text[2:]) if text.startswith("*.") else _name(text)


def _mailbox(text: str) -> str:
    if text:
        try:
            parse_mailbox(text)
        except AddressError as error:
            raise ValueError("must be an address such as reports@example.net") from error
    return text


def _ip(value: object) -> object:
    # one sentence instead of one for each member of the union
    try:
        return ip_address(str(value))
    except ValueError as error:
        raise ValueError("must be an IPv4 or IPv6 address") from error


def _begins(words: str, text: str) -> str:
    if text and not text.lower().startswith(words.lower()):
        raise ValueError(f"must begin with {words}")
    if not text.isascii() or not text.isprintable():
        raise ValueError("must be printable ASCII")
    return text


class MxSettings(BaseModel):
    """One MX host."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: Annotated[str, AfterValidator(_name)] = Field(description="its name")
    preference: int = Field(10, ge=0, le=65535, description="the lowest is tried first; equal ones share the load")
    addresses: tuple[Annotated[IPv4Address | IPv6Address, BeforeValidator(_ip)], ...] = Field(
        (), description="public addresses, of both families"
    )


class PublishSettings(BaseModel):
    """What `mxgw dns-records` prints."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mx: tuple[MxSettings, ...] = Field((), description="the MX hosts of the cluster; absent: `hostname` alone")
    ttl: int = Field(600, ge=60, le=86400, description="seconds for all records; 300 to 1800 lets you act in time")
    spf: Annotated[str, AfterValidator(lambda text: _begins("v=spf1", text))] = Field(
        "", description="SPF record of the domains; absent: `v=spf1 mx ~all`"
    )
    dmarc: Annotated[str, AfterValidator(lambda text: _begins("v=DMARC1", text))] = Field(
        "", description="DMARC record of the domains; absent: `p=none` with reports to `reports`"
    )
    reports: Annotated[str, AfterValidator(_mailbox)] = Field(
        "", description="address for DMARC and TLS reports; absent: postmaster of the domain"
    )


class MtaStsSettings(BaseModel):
    """The MTA-STS policy of all domains, and where the node serves it as `/.well-known/mta-sts.txt`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: Literal["testing", "enforce", "none"] = Field(
        "testing", description="begin with testing, read the TLS reports for two weeks, then enforce"
    )
    max_age: int = Field(604800, ge=86400, le=31557600, description="seconds for which senders keep the policy")
    mx: tuple[Annotated[str, AfterValidator(_pattern)], ...] = Field(
        (), description="host names or `*.example.net`; absent: the hosts of `publish.mx`"
    )
    address: Address | None = Field(
        None, description="IP address and port to serve it on, plain HTTP behind an ingress; absent: the admin port"
    )
    host: Annotated[str, AfterValidator(lambda text: _name(text) if text else text)] = Field(
        "", description="the ingress's name, to which mta-sts.DOMAIN points; absent: no record for it is printed"
    )

    @property
    def place(self) -> tuple[str, int] | None:
        """Host and port of ``address``."""
        return split_address(self.address) if self.address else None
