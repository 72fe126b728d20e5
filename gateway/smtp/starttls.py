"""The TLS handshake behind STARTTLS (RFC 3207): from a plain transport to an encrypted one.

Known gaps: none.
"""

from __future__ import annotations

import asyncio
import ssl

from gateway.mail import limits
from gateway.mail.transaction import Tls
from gateway.smtp.tls import server_name


class HandshakeFailed(Exception):
    """No TLS came about; result is the observer's word: handshake_error, timeout or client_abort."""

    def __init__(self, result: str, detail: str) -> None:
        self.result = result
        super().__init__(f"{result}: {detail}")


async def handshake(
    transport: asyncio.Transport,
    protocol: asyncio.Protocol,
    context: ssl.SSLContext,
    seconds: float = limits.TLS_HANDSHAKE_TIMEOUT,
) -> tuple[asyncio.Transport, Tls]:
    """Shake hands as the server. Raises HandshakeFailed; then the transport is of no use any more."""
    loop = asyncio.get_running_loop()
    try:
        encrypted = await loop.start_tls(transport, protocol, context, server_side=True, ssl_handshake_timeout=seconds)
    except ssl.SSLError as error:
        raise HandshakeFailed("handshake_error", error.reason or type(error).__name__) from error
    except ConnectionAbortedError as error:
        # the event loops' word for a handshake that took too long
        raise HandshakeFailed("timeout", f"{seconds:g} s") from error
    except OSError as error:
        raise HandshakeFailed("client_abort", type(error).__name__) from error
    if encrypted is None or encrypted.get_extra_info("cipher") is None:
        raise HandshakeFailed("client_abort", "connection lost")
    name, version, bits = encrypted.get_extra_info("cipher")
    tls_object = encrypted.get_extra_info("ssl_object")
    version = (tls_object.version() if tls_object is not None else None) or version
    return encrypted, Tls(version, name, bits or 0, server_name(tls_object))
