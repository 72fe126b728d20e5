"""The MTA-STS policy (RFC 8461): its text and id, who it covers, and fetching it as senders do.

Known gaps: no proxy, no CRL; the fetch follows no redirect, as RFC 8461 section 3.3 has it.
"""

from __future__ import annotations

import hashlib
import http.client
import re
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

PATH: Final = "/.well-known/mta-sts.txt"
OCTETS: Final = 65536
_RECORD = re.compile(r"v=STSv1\s*;\s*id=([A-Za-z0-9]{1,32})\s*(?:;.*)?$")


class FetchError(Exception):
    """The policy could not be fetched; the text says why."""


@dataclass(frozen=True, slots=True)
class StsPolicy:
    """mode: testing, enforce or none; mx: host names or ``*.name``; max_age: seconds."""

    mode: str
    mx: tuple[str, ...]
    max_age: int

    @property
    def text(self) -> str:
        """The policy file."""
        lines = ["version: STSv1", f"mode: {self.mode}", *(f"mx: {mx}" for mx in self.mx), f"max_age: {self.max_age}"]
        return "".join(f"{line}\r\n" for line in lines)

    @property
    def id(self) -> str:
        """The record's id: another one exactly when the policy is another one, and the same on all nodes."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:20]

    @property
    def record(self) -> str:
        """The text of the TXT record at ``_mta-sts.DOMAIN``."""
        return f"v=STSv1; id={self.id};"

    def covers(self, host: str) -> bool:
        """Whether a pattern fits the host (RFC 8461 section 4.1: a wildcard stands for the first label)."""
        return any(fits(pattern, host) for pattern in self.mx)

    @classmethod
    def parse(cls, text: str) -> StsPolicy:
        """From the policy file. Raises ValueError with the first thing that is wrong."""
        pairs = [line.partition(":") for line in text.splitlines() if line.strip()]
        if any(not colon for _, colon, _ in pairs):
            raise ValueError("a line has no colon")
        found: dict[str, str] = {}
        mx = []
        for key, _, value in pairs:
            if key.strip() == "mx":
                mx.append(value.strip().lower().rstrip("."))
            else:
                found.setdefault(key.strip(), value.strip())
        if found.get("version") != "STSv1":
            raise ValueError("the version must be STSv1")
        if found.get("mode") not in ("testing", "enforce", "none"):
            raise ValueError("the mode must be testing, enforce or none")
        if not re.fullmatch(r"[0-9]{1,10}", found.get("max_age", "")):
            raise ValueError("max_age must be a number of seconds")
        if not mx and found["mode"] != "none":
            raise ValueError("it names no mx")
        return cls(found["mode"], tuple(mx), int(found["max_age"]))


def fits(pattern: str, host: str) -> bool:
    """Whether a name of a certificate or policy is that of the host."""
    pattern, host = pattern.lower().rstrip("."), host.lower().rstrip(".")
    return pattern == host or (pattern.startswith("*.") and host.partition(".")[2] == pattern[2:])


def record_id(records: Sequence[str]) -> str:
    """The id in the TXT records of ``_mta-sts.DOMAIN``; '' where there is none. Raises ValueError for several or a bad
    one."""
    ours = [record for record in records if record.startswith("v=STSv1")]
    if not ours:
        return ""
    if len(ours) > 1:
        raise ValueError("there are several records, so senders use none")
    match = _RECORD.match(ours[0])
    if match is None:
        raise ValueError(f"{ours[0]!r} has no id of letters and digits")
    return match[1]


def fetch(host: str, address: str, port: int = 443, ca: str | None = None, timeout: float = 10.0) -> str:
    """The policy text from one address of ``mta-sts.DOMAIN``. Blocks: not for the event loop. Raises FetchError."""
    try:
        context = ssl.create_default_context(cafile=ca)
        with (
            socket.create_connection((address, port), timeout) as plain,
            context.wrap_socket(plain, server_hostname=host) as tls,
        ):
            asked = http.client.HTTPConnection(host, port, timeout=timeout)
            asked.sock = tls
            asked.request("GET", PATH, headers={"Host": host, "User-Agent": "mxgw"})
            answer = asked.getresponse()
            octets = answer.read(OCTETS + 1)
    except ssl.SSLCertVerificationError as error:
        raise FetchError(f"its certificate: {error.verify_message}") from error
    except (OSError, http.client.HTTPException) as error:
        raise FetchError(str(error) or type(error).__name__) from error
    if answer.status != 200:
        raise FetchError(f"HTTP status {answer.status}; senders want 200 and follow no redirect")
    kind = answer.headers.get_content_type()
    if kind != "text/plain":
        raise FetchError(f"its media type is {kind}, not text/plain")
    if len(octets) > OCTETS:
        raise FetchError("it is larger than 64 KiB")
    return octets.decode("utf-8", "replace")
