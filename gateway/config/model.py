"""The settings file as values: every key, its default and what it means; docs/settings.md is made from here.

Frozen pydantic models, unknown keys are errors. A relative path is relative to the folder of the settings file, which
the validation context names (``{"folder": Path}``); without a context it stays as it is.

Known gaps: all listeners share one set of certificates.
"""

from __future__ import annotations

import functools
import os
import re
import socket
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from gateway.config.admin_section import AdminSettings
from gateway.config.arc_section import ArcSettings
from gateway.config.cluster_section import ClusterSettings
from gateway.config.journal_section import DecisionSettings, JournalSettings
from gateway.config.limits_section import LimitsSettings
from gateway.config.mailstore_entry import MailstoreForm, as_urls, beside
from gateway.config.place import Address, resolver_address, split_address
from gateway.config.publish_section import MtaStsSettings, PublishSettings
from gateway.config.relative import RelativePath
from gateway.config.relative import beside_settings as _path
from gateway.config.tls_section import TlsSettings
from gateway.config.traces_section import TracesSettings
from gateway.delivery.recipients_list import parse_entry
from gateway.delivery.url import MailstoreUrl
from gateway.mail.address import AddressError, parse_domain

STORE_SCHEMES = ("memory", "sqlite", "redis", "rediss", "sentinel", "cluster")
_T = TypeVar("_T")


def _name(text: str) -> str:
    try:
        return parse_domain(text)
    except AddressError as error:
        raise ValueError("must be a domain name without a trailing dot") from error


def _route_domain(text: str) -> str:
    return "*." + _name(text[2:]) if text.startswith("*.") else _name(text)


def _store(text: str, info: ValidationInfo) -> str:
    scheme, colon, rest = text.partition("://")
    if text in ("sqlite", "memory"):
        return "memory://" if text == "memory" else ""
    if not colon or scheme not in STORE_SCHEMES:
        raise ValueError(f"the store must begin with one of {', '.join(f'{name}://' for name in STORE_SCHEMES)}")
    if scheme not in ("memory", "sqlite") and not rest.strip("/"):
        raise ValueError("the store names no server")
    if scheme == "sqlite":
        # sqlite:///relative.db and sqlite:////absolute.db
        file = rest.removeprefix("/")
        if not file:
            raise ValueError("the store names no file")
        return f"sqlite:///{_path(Path(file), info)}"
    return text


def _network(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("must be a network such as 10.0.0.0/8")
    try:
        return ip_network(value)
    except ValueError as error:
        if "host bits" in str(error):
            raise ValueError(f"has bits behind the prefix; the network is {ip_network(value, strict=False)}") from error
        raise ValueError("must be a network such as 10.0.0.0/8") from error


def _prefix(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]{0,40}-", text):
        raise ValueError("must be letters, digits and hyphens, with a hyphen at the end")
    return text


def _secret(value: SecretStr | None) -> SecretStr | None:
    if value is not None and len(value.get_secret_value()) < 16:
        raise ValueError("is too short")
    return value


def _some(items: tuple[_T, ...]) -> tuple[_T, ...]:
    # min_length would also complain where an item was refused
    if not items:
        raise ValueError("must not be empty")
    return items


def _workers(value: object) -> object:
    # one sentence instead of one for each member of the union
    number = int(value) if isinstance(value, str) and value.isdecimal() else value
    if number == "auto" or (isinstance(number, int) and not isinstance(number, bool) and 1 <= number <= 256):
        return number
    raise ValueError("must be auto or a number from 1 to 256")


def _node(text: str) -> str:
    if text and not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?", text):
        raise ValueError("must be letters, digits, dots, hyphens and underscores, at most 253")
    return text


Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(_network)]
SOME = AfterValidator(_some)
Domain = Annotated[str, AfterValidator(_name)]


@functools.cache
def own_name() -> str:
    """This machine's full name; asked once, since it may cost a DNS query. A name that is no domain gives localhost."""
    try:
        return parse_domain(socket.getfqdn().rstrip("."))
    except AddressError:
        return "localhost"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ProxyProtocolSettings(_Section):
    """Balancers that stand before the listener (PROXY protocol 1 and 2)."""

    trusted: Annotated[tuple[Network, ...], SOME] = Field(
        description="networks of the balancers; only from them a header or a probe is taken"
    )
    header: Literal["required", "optional", "never"] = Field(
        "required",
        description="required: without a header only probes are answered; optional: without one the client's address "
        "is not known, and no check judges it; never: that is so for all",
    )
    direct: bool = Field(False, description="serve peers outside `trusted` as direct clients; else they are refused")


class ListenerSettings(_Section):
    """One place where SMTP clients connect."""

    address: Address = Field(description="IP address and port; port 0 takes a free one")
    name: str = Field("", description="how records and metrics call it; absent: the address")
    proxy_protocol: ProxyProtocolSettings | None = Field(None, description="absent: clients connect directly")
    xclient: tuple[Network, ...] = Field((), description="hosts that may tell us the client's address by XCLIENT")

    @property
    def host(self) -> str:
        """The IP address to listen on, without brackets."""
        return split_address(self.address)[0]

    @property
    def port(self) -> int:
        """The TCP port; 0 takes a free one."""
        return split_address(self.address)[1]


def _recipients(value: object) -> object:
    if isinstance(value, str):
        if value not in ("callout", "accept"):
            raise ValueError("must be callout, accept, {list: [...]} or {file: path}")
        return {"ask": value}
    return value


def _entry(text: str) -> str:
    parse_entry(text)
    return text


class RecipientsSettings(_Section):
    """Who knows the recipients of a route."""

    ask: Literal["callout", "accept"] = Field(
        "callout", description="callout: the mailstore is asked; accept: nobody is, and it speaks at the hand-over"
    )
    list: Annotated[tuple[Annotated[str, AfterValidator(_entry)], ...], SOME] | None = Field(
        None, description="in place of asking: addresses, or `@example.org` for all of a domain"
    )
    file: RelativePath | None = Field(
        None, description="in place of asking: a file with one address or @domain a line, read again when it changes"
    )

    @model_validator(mode="after")
    def _one_source(self) -> RecipientsSettings:
        if self.list is not None and self.file is not None:
            raise ValueError("list and file stand together; keep one")
        return self


_RECIPIENTS_FORM = Literal["callout", "accept"] | RecipientsSettings


class RouteSettings(_Section):
    """Which domains are ours and where their mail goes."""

    domains: Annotated[tuple[Annotated[str, AfterValidator(_route_domain)], ...], SOME] = Field(
        description="recipient domains; `*.example.org` is every name below example.org"
    )
    mailstore: Annotated[tuple[str, ...], SOME, BeforeValidator(as_urls, json_schema_input_type=MailstoreForm)] = Field(
        description="smtp://host:port, lmtp://host:port, lmtp+unix:/path or maildir:/path; a list: best first; a "
        "mapping {url, weight, ...} has the URL's options as keys",
    )
    name: str = Field("", description="how records and metrics call it; absent: the first domain")
    recipients: Annotated[
        RecipientsSettings, BeforeValidator(_recipients, json_schema_input_type=_RECIPIENTS_FORM)
    ] = Field(
        RecipientsSettings(), description="how recipients are verified: callout, accept, {list: [...]} or {file: path}"
    )

    @field_validator("mailstore")
    @classmethod
    def _reachable(cls, urls: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        folder = (info.context or {}).get("folder")
        urls = tuple(beside(url, folder if isinstance(folder, Path) else None) for url in urls)
        for url in urls:
            MailstoreUrl.parse(url)
        return urls

    @property
    def label(self) -> str:
        """The name, or the first domain."""
        return self.name or self.domains[0]


class DnsSettings(_Section):
    """Resolvers for all look-ups; they should validate DNSSEC and stand on this machine or beside it."""

    servers: tuple[Annotated[str, AfterValidator(resolver_address)], ...] = Field(
        (), description="IP addresses with port (53 where absent); empty: the system's resolvers"
    )
    timeout: float = Field(2.0, gt=0, le=30, description="seconds for one try of one query")


class LogSettings(_Section):
    """Log lines and decision records go to standard output."""

    format: Literal["json", "text"] = Field("json", description="one JSON object a line, or text for people")
    level: Literal["debug", "info", "warning", "error"] = Field("info", description="the least severe line to write")


class Settings(_Section):
    """All settings of a node, complete: what the file leaves out is filled in."""

    hostname: Domain = Field(
        default_factory=own_name,
        description="name in the greeting, in EHLO and after `by` in Received; absent: the machine's",
    )
    node: Annotated[str, AfterValidator(_node)] = Field(
        "",
        description="name of this node in its cluster and in records; of its own where nodes share a `hostname`; "
        "absent: `hostname`",
    )
    authserv_id: Annotated[str, AfterValidator(lambda text: _name(text) if text else text)] = Field(
        "", description="name in Authentication-Results (RFC 8601), one for the whole cluster; absent: `hostname`"
    )
    listeners: Annotated[tuple[ListenerSettings, ...], SOME] = Field(
        (ListenerSettings(address="0.0.0.0:2525"),), description="where SMTP clients connect"
    )
    tls: TlsSettings | None = Field(
        None, description="certificates for STARTTLS; absent: a self-signed one is made in `state_dir`, with a warning"
    )
    routes: Annotated[tuple[RouteSettings, ...], SOME] = Field(
        description="which domains are ours and where their mail goes"
    )
    store: Annotated[str, AfterValidator(_store)] = Field(
        "",
        description="memory:// sqlite:/// redis:// rediss:// sentinel:// or cluster://; absent: sqlite in `state_dir`",
    )
    dns: DnsSettings = Field(DnsSettings(), description="resolvers")
    policy: RelativePath | None = Field(None, description="policy file; absent: the packaged default")
    admin: AdminSettings = Field(AdminSettings(), description="metrics, health, status and page")
    state_dir: RelativePath = Field(
        Path("/var/lib/mxgw"), description="what the node keeps over a restart; made where missing"
    )
    spool_dir: RelativePath | None = Field(
        None, description="folder for content too big for memory; absent: the system's for temporary files"
    )
    workers: Annotated[int | Literal["auto"], BeforeValidator(_workers)] = Field(
        "auto", description="worker processes, 1 to 256; auto: one per core"
    )
    log: LogSettings = Field(LogSettings(), description="log lines")
    limits: LimitsSettings = Field(LimitsSettings(), description="limits of the wire")
    cluster: ClusterSettings = Field(ClusterSettings(), description="the node as one of several")
    decisions: DecisionSettings = Field(DecisionSettings(), description="decision records that the nodes share")
    journal: JournalSettings | None = Field(None, description="recordings for `mxgw replay`; absent: none")
    arc: ArcSettings = Field(ArcSettings(), description="ARC sets of our own")
    traces: TracesSettings | None = Field(None, description="OpenTelemetry traces (extra `otel`); absent: none")
    publish: PublishSettings = Field(PublishSettings(), description="what `mxgw dns-records` prints")
    mta_sts: MtaStsSettings | None = Field(None, description="MTA-STS policy of the domains; absent: none is served")
    header_prefix: Annotated[str, AfterValidator(_prefix)] = Field(
        "X-Gateway-",
        description="how our own header fields begin; strangers' fields of that kind are removed",
    )
    secret: Annotated[SecretStr | None, AfterValidator(_secret)] = Field(
        None,
        description="shared by the cluster, for hashes and seals in the store; 16 characters or more; absent: empty",
    )

    _origin: Mapping[str, str] = PrivateAttr(default_factory=dict)
    _warnings: tuple[str, ...] = PrivateAttr(())

    @model_validator(mode="after")
    def _fill(self) -> Settings:
        # the only place that writes to a frozen value, before anybody else has seen it
        if not self.node:
            self.__dict__["node"] = self.hostname
        if not self.authserv_id:
            self.__dict__["authserv_id"] = self.hostname
        if not self.store:
            self.__dict__["store"] = f"sqlite:///{self.state_dir}/store.sqlite3"
        return self

    @property
    def origin(self) -> Mapping[str, str]:
        """Where each value came from: dotted key -> ``default``, ``gateway.yaml:12`` or ``MXGW_STORE``."""
        return self._origin

    @property
    def shared_secret(self) -> bytes:
        """The octets of ``secret``; b'' if there is none."""
        return self.secret.get_secret_value().encode() if self.secret else b""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What works and should not stay so, for the operator."""
        shared = self.store.partition("://")[0] not in ("memory", "sqlite")
        if shared and self.secret is None:
            told = "secret: there is none, so whoever reads the shared store can guess the addresses hashed in it"
            return (told, *self._warnings, *self.admin.warnings)
        return (*self._warnings, *self.admin.warnings)

    @property
    def worker_count(self) -> int:
        """Worker processes as a number; ``auto`` counts the cores that this process may use."""
        return len(os.sched_getaffinity(0)) if self.workers == "auto" else self.workers

    def with_origin(self, origin: Mapping[str, str], warnings: tuple[str, ...] = ()) -> Settings:
        """The same settings that know where their values came from, and what is to be said of those places."""
        copy = self.model_copy()
        copy._origin = origin
        copy._warnings = warnings
        return copy


def settings_schema() -> dict[str, Any]:
    """The JSON Schema of the settings file, as docs/settings.schema.json shows it."""
    schema = Settings.model_json_schema()
    schema["title"] = "mxgw settings"
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
