"""A mailstore's URL as it stands in the settings: ``smtp://10.1.0.5:25?tls=verify&ca=/etc/ca.pem``.

In: text. Out: a frozen :class:`MailstoreUrl`, or ValueError whose text says what is wrong and what to write instead.

Known gaps: no user name and password: a mailstore trusts the gateway by address or certificate.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, cast
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

Scheme = Literal["smtp", "lmtp", "lmtp+unix", "maildir"]
TlsMode = Literal["off", "opportunistic", "required", "verify-ca", "verify"]
XclientMode = Literal["off", "try", "require"]

_NUMBER = re.compile(r"[0-9]{1,7}(?:\.[0-9]{1,6})?")
_PORTS = {"smtp": 25, "lmtp": 24}
_RELAY_OPTIONS = {
    "tls": ("off", "opportunistic", "required", "verify-ca", "verify"),
    "ca": (),
    "name": (),
    "cert": (),
    "key": (),
    "sessions": (),
    "rate": (),
    "weight": (),
    "xclient": ("off", "try", "require"),
    "verify": ("yes", "no"),
}
_OPTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "smtp": _RELAY_OPTIONS,
    "lmtp": _RELAY_OPTIONS,
    "lmtp+unix": _RELAY_OPTIONS,
    "maildir": {"recipients": ("all", "existing"), "weight": ()},
}


@dataclass(frozen=True, slots=True)
class MailstoreUrl:
    """host and port for smtp and lmtp, path for lmtp+unix and maildir.

    tls: off; opportunistic (used when offered, certificate not looked at); required (no mail without it); verify
    (required, and the certificate must be of ``name`` or the host, signed by ``ca`` or the system's authorities);
    verify-ca (required, signed by ``ca``, whatever its name). cert and key: PEM files, our certificate as a client.
    sessions: at most at once, 0 for the default. rate: messages a second, 0 for no limit. weight: share of the
    route's messages where any of its mailstores has one; 0: only when the others cannot.
    xclient: tell the client's address when offered; ``require`` refuses to deliver without.
    verify: ask by RCPT whether recipients exist. existing_only: a Maildir takes only recipients whose folder is there.
    """

    scheme: Scheme
    host: str = ""
    port: int = 0
    path: str = ""
    tls: TlsMode = "opportunistic"
    ca: str = ""
    name: str = ""
    xclient: XclientMode = "try"
    verify: bool = True
    existing_only: bool = False
    cert: str = ""
    key: str = ""
    sessions: int = 0
    rate: float = 0.0
    weight: float = 0.0

    def __str__(self) -> str:
        if self.scheme in ("lmtp+unix", "maildir"):
            return f"{self.scheme}:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> MailstoreUrl:
        """The value of a URL. Raises ValueError with a remedy."""
        parts = _split(text)
        scheme = cast(Scheme, parts.scheme)
        options = _options(text, parts)
        if scheme in ("lmtp+unix", "maildir"):
            host, port, path = "", 0, _absolute_path(text, parts)
        else:
            (host, port), path = _host_and_port(text, parts), ""
        tls = cast(TlsMode, options.get("tls", "off" if scheme == "lmtp+unix" else "opportunistic"))
        _check_tls(text, tls, options)
        return cls(
            scheme,
            host,
            port,
            path,
            tls,
            options.get("ca", ""),
            options.get("name", ""),
            cast(XclientMode, options.get("xclient", "try")),
            options.get("verify", "yes") == "yes",
            options.get("recipients") == "existing",
            options.get("cert", ""),
            options.get("key", ""),
            _whole(text, "sessions", options),
            _number(text, "rate", options),
            _number(text, "weight", options),
        )


def _check_tls(text: str, tls: TlsMode, options: dict[str, str]) -> None:
    if tls == "verify-ca" and (not options.get("ca") or options.get("name")):
        raise ValueError(f"{text!r}: tls=verify-ca needs ca= and no name=; with a name write tls=verify")
    if not tls.startswith("verify") and (options.get("ca") or options.get("name")):
        raise ValueError(f"{text!r}: ca= and name= mean something only with tls=verify; add it or remove them")
    if ("cert" in options) != ("key" in options):
        raise ValueError(f"{text!r}: cert= and key= belong together; give both or none")
    if "cert" in options and tls == "off":
        raise ValueError(f"{text!r}: cert= and key= mean nothing with tls=off; remove them")


def _whole(text: str, key: str, options: dict[str, str]) -> int:
    value = options.get(key, "0")
    if key in options and not (value.isascii() and value.isdigit() and 1 <= int(value) <= 10_000):
        raise ValueError(f"{text!r}: {key}={value} must be a whole number from 1 to 10000")
    return int(value)


def _number(text: str, key: str, options: dict[str, str]) -> float:
    value = options.get(key, "0")
    if key in options and not (_NUMBER.fullmatch(value) and 0 < float(value) <= 1_000_000):
        raise ValueError(f"{text!r}: {key}={value} must be a number above 0 such as 2 or 0.5")
    return float(value)


def _split(text: str) -> SplitResult:
    try:
        parts = urlsplit(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not a URL ({error}); write e.g. smtp://10.1.0.5:25") from error
    if parts.scheme not in _OPTIONS:
        raise ValueError(
            f"{text!r}: not a mailstore; write smtp://host:port, lmtp://host:port, lmtp+unix:/path or maildir:/path"
        )
    if parts.fragment:
        raise ValueError(f"{text!r}: remove the part after #")
    return parts


def _host_and_port(text: str, parts: SplitResult) -> tuple[str, int]:
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"a mailstore URL ({parts.scheme}://) takes no user and password; remove them")
    if parts.path not in ("", "/"):
        raise ValueError(f"{text!r}: remove the path {parts.path!r}; for a socket file write lmtp+unix:/path")
    try:
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{text!r}: the port must be a number from 1 to 65535") from error
    if port == 0:
        raise ValueError(f"{text!r}: the port must be a number from 1 to 65535")
    if not parts.hostname:
        raise ValueError(f"{text!r}: no host; write {parts.scheme}://host:{_PORTS[parts.scheme]}")
    return parts.hostname, port or _PORTS[parts.scheme]


def _absolute_path(text: str, parts: SplitResult) -> str:
    path = unquote(parts.path)
    if parts.netloc or not path.startswith("/") or "\0" in path:
        raise ValueError(f"{text!r} has no absolute path; write {parts.scheme}:/path")
    return path


def _options(text: str, parts: SplitResult) -> dict[str, str]:
    known = _OPTIONS[parts.scheme]
    found: dict[str, str] = {}
    for key, value in parse_qsl(parts.query, keep_blank_values=True):
        if key not in known:
            raise ValueError(f"{text!r}: no option {key!r}; {parts.scheme} has {', '.join(known)}")
        if key in found:
            raise ValueError(f"{text!r}: option {key!r} stands twice; keep one")
        if known[key] and value not in known[key]:
            raise ValueError(f"{text!r}: {key}={value} is not known; write one of {', '.join(known[key])}")
        if not value:
            raise ValueError(f"{text!r}: {key}= has no value; give one or remove it")
        found[key] = value
    return found
