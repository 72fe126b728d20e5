"""The settings of the admin port: where it listens, and who may see the page.

Known gaps: the token and the certificates are read at the start only.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from gateway.config.place import Address, split_address
from gateway.config.relative import RelativePath

TOKEN_LENGTH: Final = 16


class AdminSettings(BaseModel):
    """Metrics, health, status and the page of the node; never show it to the Internet."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: Address = Field("127.0.0.1:8025", description="IP address and port")
    page: bool | None = Field(
        None, description="the web page; absent: on a loopback address, or where `token_file` or `client_ca` guards it"
    )
    token_file: RelativePath | None = Field(
        None, description=f"file with the page's password, {TOKEN_LENGTH} characters or more; any user name will do"
    )
    certificate: RelativePath | None = Field(None, description="PEM chain: the port speaks HTTPS")
    key: RelativePath | None = Field(None, description="PEM file of its private key")
    client_ca: RelativePath | None = Field(
        None, description="PEM: who shows a certificate signed by it needs no token for the page"
    )

    @property
    def host(self) -> str:
        """The IP address to listen on, without brackets."""
        return split_address(self.address)[0]

    @property
    def port(self) -> int:
        """The TCP port; 0 takes a free one."""
        return split_address(self.address)[1]

    @property
    def guarded(self) -> bool:
        """Whether the page asks who is there."""
        return self.token_file is not None or self.client_ca is not None

    @property
    def serves_page(self) -> bool:
        """Whether there is a page."""
        return (is_loopback(self.host) or self.guarded) if self.page is None else self.page

    @property
    def warnings(self) -> tuple[str, ...]:
        """What works and should not stay so."""
        if not is_loopback(self.host) and self.serves_page and self.certificate is None:
            return ("admin: the page's token goes over the network in the clear; set admin.certificate and admin.key",)
        return ()


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it."""
    return host == "localhost" or ip_address(host).is_loopback


def read_token(file: Path) -> str:
    """The token. Raises ValueError in words for the settings' author."""
    try:
        token = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} cannot be read: {error}") from error
    if len(token) < TOKEN_LENGTH:
        raise ValueError(f"{file} holds fewer than {TOKEN_LENGTH} characters")
    return token


def tls_context(certificate: Path, key: Path, client_ca: Path | None) -> ssl.SSLContext:
    """For HTTPS. Raises ValueError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
        if client_ca is not None:
            context.load_verify_locations(client_ca)
            # probes and Prometheus need none
            context.verify_mode = ssl.CERT_OPTIONAL
    except (OSError, ssl.SSLError) as error:
        raise ValueError(f"certificate, key or client_ca cannot be used: {error}") from error
    return context


def admin_faults(admin: object, folder: Path) -> Iterator[tuple[str, str, str]]:
    """Key, problem and remedy of what the model alone does not show. admin: as the file has it."""
    if not isinstance(admin, dict):
        return
    files = {key: folder / admin[key] for key in _FILES if isinstance(admin.get(key), str)}
    try:
        beyond = not is_loopback(split_address(str(admin.get("address", "127.0.0.1:8025")))[0])
    except ValueError:
        beyond = False  # the model has said so
    if admin.get("page") is True and beyond and not files.keys() & {"token_file", "client_ca"}:
        yield "page", "must not be open to the network", "set token_file or client_ca, or listen on 127.0.0.1"
    yield from _file_faults(files)


_FILES: Final = ("token_file", "certificate", "key", "client_ca")


def _file_faults(files: dict[str, Path]) -> Iterator[tuple[str, str, str]]:
    pairs: dict[str, Any] = {"certificate": "key", "key": "certificate", "client_ca": "certificate"}
    for one, other in pairs.items():
        if one in files and other not in files:
            yield one, f"is of no use without {other}", f"set admin.{other} too"
    if "token_file" in files:
        try:
            read_token(files["token_file"])
        except ValueError as error:
            yield "token_file", str(error), "make one: openssl rand -hex 16"
    if "certificate" in files and "key" in files:
        try:
            tls_context(files["certificate"], files["key"], files.get("client_ca"))
        except ValueError as error:
            yield "certificate", str(error), "give PEM files that belong together"
