"""The two ways to write a mailstore in the settings: a URL, or a mapping whose keys are the URL's options.

``{url: smtp://10.1.0.5, weight: 2}`` is ``smtp://10.1.0.5?weight=2``; after reading there are URLs only.

Known gaps: a fault in a mapping is reported for the URL made of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlencode

from pydantic import BaseModel, ConfigDict, Field

from gateway.delivery.url import MailstoreUrl

_FILES = ("ca", "cert", "key")


class MailstoreEntry(BaseModel):
    """One mailstore of a route. For the schema; the URL's parser judges the values."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(description="smtp://host:port, lmtp://host:port, lmtp+unix:/path or maildir:/path")
    weight: float = Field(0, ge=0, description="share of the route's messages; 0: only when the others cannot")
    tls: Literal["off", "opportunistic", "required", "verify-ca", "verify"] = Field(
        "opportunistic", description="what the mailstore's TLS must be like"
    )
    ca: str = Field("", description="PEM file of the authorities for verify and verify-ca; absent: the system's")
    name: str = Field("", description="the name in its certificate; absent: the host")
    cert: str = Field("", description="PEM file, our certificate as a client")
    key: str = Field("", description="PEM file, its private key")
    sessions: int = Field(0, ge=0, description="sessions of this node at once; 0: 50 a worker")
    rate: float = Field(0, ge=0, description="messages a second of this node; 0: no limit")
    xclient: Literal["off", "try", "require"] = Field("try", description="tell the client's address")
    verify: Literal["yes", "no"] = Field("yes", description="ask whether recipients exist")
    recipients: Literal["all", "existing"] = Field("all", description="maildir: take only those with a folder")


MailstoreForm = str | MailstoreEntry | list[str | MailstoreEntry]
"""What may stand at ``mailstore:``."""


def as_urls(value: object) -> list[object]:
    """One or many, URL or mapping, as a list of URLs; what is neither stays as it is and is refused later."""
    many = list(value) if isinstance(value, list | tuple) else [value]
    return [_as_url(item) if isinstance(item, dict) else item for item in many]


def _as_url(entry: dict[str, Any]) -> str:
    url = entry.get("url")
    if not isinstance(url, str):
        raise ValueError("a mapping needs the key url, such as {url: smtp://10.1.0.5, weight: 2}")
    # a weight of 0 and the like says what is so without it; false does not
    unsaid = {key for key, value in entry.items() if value in (0, "", None) and value is not False}
    return _joined(url, {key: _text(value) for key, value in entry.items() if key not in unsaid | {"url"}})


def _text(value: object) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _joined(url: str, options: dict[str, str]) -> str:
    if not options:
        return url
    return f"{url}{'&' if '?' in url else '?'}{urlencode(options, quote_via=quote, safe='/:.')}"


def pem_faults(value: object, folder: Path) -> Iterator[tuple[str, str]]:
    """What is wrong with the PEM files of the mailstores: (problem, remedy). Other faults are not told here."""
    from gateway.delivery.session import tls_context  # brings the clients along, which most settings do not need

    try:
        urls = [MailstoreUrl.parse(beside(url, folder)) for url in as_urls(value) if isinstance(url, str)]
    except ValueError:
        return  # the model has said so
    for url in urls:
        if url.ca or url.cert:
            try:
                tls_context(url)
            except ValueError as error:
                problem, _, remedy = str(error).rpartition("; ")
                yield problem, remedy


def beside(url: str, folder: Path | None) -> str:
    """The URL with its relative files (Maildir, ca, cert, key) beside the settings file, as every other path."""
    if folder is None:
        return url
    head, question, query = url.partition("?")
    scheme, _, path = head.partition(":")
    if scheme == "maildir" and path and not path.startswith("/"):
        head = f"maildir:{os.path.normpath(folder / path)}"
    words = [word.partition("=") for word in query.split("&")]
    query = "&".join(
        f"{key}={os.path.normpath(folder / value)}" if key in _FILES and value and not value.startswith("/") else word
        for key, equals, value in words
        for word in [f"{key}{equals}{value}"]
    )
    return f"{head}{question}{query}"
