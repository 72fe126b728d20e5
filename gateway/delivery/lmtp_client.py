"""The Mailstore port over LMTP (RFC 2033): after the final dot one reply for each accepted recipient, in order.

Known gaps: none.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from gateway.delivery.handover import Results, result_of
from gateway.delivery.pool import PoolLimits
from gateway.delivery.session import Dialect, Session
from gateway.delivery.smtp_client import RelayMailstore
from gateway.delivery.wire import ClosingReply, Deadline
from gateway.mail.address import Mailbox


async def one_reply_each(session: Session, recipients: Sequence[Mailbox], deadline: Deadline, results: Results) -> None:
    """RFC 2033 section 4.2. A 421 is the last reply: the rest is as deferred as the one that it answers."""
    for n, mailbox in enumerate(recipients):
        try:
            reply = await session.reply(deadline, "final dot", session.dialect.timeouts.dot)
        except ClosingReply as closing:
            results.update(dict.fromkeys(recipients[n:], result_of(closing.reply)))
            return
        results[mailbox] = result_of(reply)


class LmtpMailstore(RelayMailstore):
    """lmtp://host:port and lmtp+unix:/path"""

    def __init__(self, dialect: Dialect, limits: PoolLimits, jitter: Callable[[], float] = random.random) -> None:
        super().__init__(dialect, one_reply_each, limits, jitter)
