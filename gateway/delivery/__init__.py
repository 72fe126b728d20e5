"""The wall to the mailstore: routes, SMTP and LMTP client, Maildir, and the folding of results into one reply.

Reading order: url (what the settings say), wire (octets and replies), session (greeting to XCLIENT), handover (one
transaction), smtp_client and lmtp_client (the Mailstore port), pool, maildir, routes (failover), ledger (no duplicate
after a lost reply), fold (one reply for all). No queue and no spool: a hand-over is over before the client has its
answer (docs/responsibility.md).

Known gaps: none.
"""
