"""Where something listens or is asked: an IP address with a port, as the settings file writes it.

Known gaps: none.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Annotated

from pydantic import AfterValidator

_ADDRESS = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<four>[^:\[\]/\s]+)):(?P<port>[0-9]{1,6})")


def split_address(text: str) -> tuple[str, int]:
    """``host:port`` or ``[IPv6]:port`` as host (without brackets) and port 0 to 65535. Raises ValueError."""
    match = _ADDRESS.fullmatch(text)
    if match is None:
        raise ValueError("must be address:port or [IPv6 address]:port")
    host, port = match["six"] or match["four"], int(match["port"])
    try:
        ip_address(host)
    except ValueError as error:
        if host != "localhost":
            raise ValueError("the part before the port must be an IP address") from error
    if port > 65535:
        raise ValueError("a port is at most 65535")
    return host, port


def address(text: str) -> str:
    """The same text, judged. Raises ValueError."""
    split_address(text)
    return text


def resolver_address(text: str) -> str:
    """A name server: ``address``, ``address:port``, ``[IPv6]:port``; always with its port. Raises ValueError."""
    try:
        bare = ip_address(text)
    except ValueError:
        return address(text)
    return f"[{bare}]:53" if bare.version == 6 else f"{bare}:53"


Address = Annotated[str, AfterValidator(address)]
