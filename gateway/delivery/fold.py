"""Results of all recipients into the one reply that SMTP has for the end of data (RFC 5321 section 4.1.1.4).

The reply must be true for every recipient, and nothing may be lost silently. In this order:

1. somebody's result is unknown (MAYBE): 451 ``mailstore-lost``; a duplicate is better than a loss;
2. somebody is DEFERRED: that 4yz, or 451 ``mailstore-unavailable`` where the mailstore said nothing. The client's
   next attempt is for all; the ledger spares those who have the message already;
3. somebody is BUSY: 451 ``handing-over``, for nobody knows yet how that will end;
4. somebody is REFUSED: the mailstore's 5yz. Where others have the message, 250 would lose the refused ones silently
   and 451 would come back for ever; so it is 5yz too, and its text says for how many of them the message was refused:
   the author gets a DSN and learns of it;
5. all DELIVERED, now or before: 250.

Known gaps: a client that reads a 5yz cannot know which of the recipients were refused.
"""

from __future__ import annotations

import re

from gateway.mail.reply import REPLIES, Reply, reply_for, sanitise
from gateway.ports.mailstore import DeliveryResult, Handover, RecipientResult


def fold(result: DeliveryResult, transaction_id: str) -> Reply:
    """One reply for all recipients, ending with the transaction id. Never raises for whatever a mailstore said."""
    results = list(result.results.values())
    if not results:
        return reply_for("mailstore-unavailable", transaction_id)
    by = {kind: [r for r in results if r.handover is kind] for kind in Handover}
    if by[Handover.MAYBE]:
        return reply_for("mailstore-lost", transaction_id)
    if deferred := by[Handover.DEFERRED]:
        spoken = next((r for r in deferred if r.code), None)
        if spoken is None:
            return reply_for("mailstore-unavailable", transaction_id)
        return _own_words(spoken, "mailstore-deferred", transaction_id)
    if by[Handover.BUSY]:
        return reply_for("handing-over", transaction_id)
    if refused := by[Handover.REFUSED]:
        note = ""
        if by[Handover.DELIVERED] or by[Handover.BEFORE]:
            note = f"Delivered to some recipients, refused for {len(refused)} of {len(results)}: "
        return _own_words(refused[0], "mailstore-refused", transaction_id, note)
    return reply_for("accepted", transaction_id)


def _own_words(said: RecipientResult, reason: str, transaction_id: str, note: str = "") -> Reply:
    row = REPLIES[reason]
    kind = row.code // 100
    # 421 would promise that we close the session; that is between the mailstore and us
    code = said.code if said.code // 100 == kind and said.code != 421 else row.code
    enhanced = said.enhanced if re.fullmatch(rf"{kind}\.\d{{1,3}}\.\d{{1,3}}", said.enhanced) else row.enhanced
    return Reply(code, enhanced, f"{note}{sanitise(said.text) or row.text} [{transaction_id}]")
