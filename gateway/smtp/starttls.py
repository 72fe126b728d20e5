"""The TLS handshake behind STARTTLS (RFC 3207): from a plain transport to an encrypted one.

Known gaps: none.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import Any

from gateway.mail import limits
from gateway.mail.transaction import Tls
from gateway.smtp.tls import server_name
from gateway.smtp.tls_watch import Facts, current


class HandshakeFailed(Exception):
    """No TLS came about. result: the observer's word: handshake_error, timeout or client_abort. cause: one word of
    ``tls_watch.CAUSES``. version: the best that the client offered, '' if unknown. facts: fields for the log."""

    def __init__(self, result: str, cause: str, detail: str, facts: Facts) -> None:
        self.result = result
        self.cause = cause
        self.version = facts.version
        self.facts: Mapping[str, Any] = {"cause": cause, **facts.for_log()}
        super().__init__(f"{result}: {detail}")


async def handshake(
    transport: asyncio.Transport,
    protocol: asyncio.Protocol,
    context: ssl.SSLContext,
    seconds: float = limits.TLS_HANDSHAKE_TIMEOUT,
) -> tuple[asyncio.Transport, Tls]:
    """Shake hands as the server. Raises HandshakeFailed; then the client has its alert, and the transport is of no use
    any more."""
    loop = asyncio.get_running_loop()
    facts = Facts(transport.write)
    noted = current.set(facts)
    try:
        encrypted = await loop.start_tls(transport, protocol, context, server_side=True, ssl_handshake_timeout=seconds)
    except ssl.SSLError as error:
        raise HandshakeFailed("handshake_error", facts.cause, error.reason or type(error).__name__, facts) from error
    except ConnectionAbortedError as error:
        # the event loops' word for a handshake that took too long
        raise HandshakeFailed("timeout", "timeout", f"{seconds:g} s", facts) from error
    except OSError as error:
        raise HandshakeFailed("client_abort", "client_left", type(error).__name__, facts) from error
    finally:
        current.reset(noted)
    if encrypted is None or encrypted.get_extra_info("cipher") is None:
        raise HandshakeFailed("client_abort", "client_left", "connection lost", facts)
    name, version, bits = encrypted.get_extra_info("cipher")
    tls_object = encrypted.get_extra_info("ssl_object")
    version = (tls_object.version() if tls_object is not None else None) or version
    return encrypted, Tls(version, name, bits or 0, server_name(tls_object))
