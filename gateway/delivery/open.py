"""From a mailstore's URL to the Mailstore behind it.

Known gaps: none.
"""

from __future__ import annotations

from gateway.delivery.lmtp_client import LmtpMailstore
from gateway.delivery.maildir import MaildirMailstore
from gateway.delivery.pool import PoolLimits
from gateway.delivery.session import Dialect, tls_context
from gateway.delivery.smtp_client import SmtpMailstore
from gateway.delivery.url import MailstoreUrl
from gateway.delivery.wire import Timeouts
from gateway.ports.mailstore import Mailstore
from gateway.ports.observer import NullObserver, Observer


def open_mailstore(
    url: MailstoreUrl,
    hostname: str,
    observer: Observer | None = None,
    timeouts: Timeouts | None = None,
    pool: PoolLimits | None = None,
) -> Mailstore:
    """The mailstore of a URL; connects lazily. hostname: our name in EHLO and in Maildir file names (ASCII). Reads
    the CA file of tls=verify, so call it at start. Raises ValueError where that cannot be read."""
    if url.scheme == "maildir":
        return MaildirMailstore(url, hostname)
    dialect = Dialect(url, hostname, tls_context(url), timeouts or Timeouts(), observer or NullObserver())
    client = LmtpMailstore if dialect.lmtp else SmtpMailstore
    return client(dialect, pool or PoolLimits())
