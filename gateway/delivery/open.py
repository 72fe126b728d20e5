"""From a mailstore's URL to the Mailstore behind it.

Known gaps: none.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

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
    jitter: Callable[[], float] = random.random,
    share: int = 1,
) -> Mailstore:
    """The mailstore of a URL; connects lazily. hostname: our name in EHLO and in Maildir file names (ASCII). Reads
    the PEM files of the URL, so call it at start. jitter (0 to 1) spreads the probes of a mailstore that is down.
    share: how many workers divide the URL's ``sessions`` and ``rate``. Raises ValueError for a file that cannot be
    read."""
    if url.scheme == "maildir":
        return MaildirMailstore(url, hostname)
    dialect = Dialect(url, hostname, tls_context(url), timeouts or Timeouts(), observer or NullObserver())
    client = LmtpMailstore if dialect.lmtp else SmtpMailstore
    return client(dialect, _limits(url, pool or PoolLimits(), share), jitter)


def _limits(url: MailstoreUrl, limits: PoolLimits, share: int) -> PoolLimits:
    sessions = max(1, url.sessions // share) if url.sessions else limits.sessions
    return replace(limits, sessions=sessions, rate=url.rate / share if url.rate else limits.rate)
