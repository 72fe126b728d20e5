"""The table of all checks: what can be known, when, from which port and in what time.

This is the table of contents of the product. Adding a check is one file, one row, one section of settings, one entry
in ``policy.vocabulary`` and one page of docs. No registration by import.

Known gaps: none.
"""

from __future__ import annotations

from gateway.checks.arc import arc
from gateway.checks.asn import asn
from gateway.checks.block import block
from gateway.checks.dkim import dkim
from gateway.checks.dmarc import dmarc
from gateway.checks.dnsbl import dnsbl
from gateway.checks.external_relay import external_relay
from gateway.checks.forwarder import forwarder
from gateway.checks.greylist import greylist, greylist_content
from gateway.checks.helo import helo
from gateway.checks.iprev import iprev
from gateway.checks.loop import loop
from gateway.checks.pregreet import pregreet
from gateway.checks.rate import rate, rate_content, rate_messages, rate_recipients
from gateway.checks.recipient import recipient
from gateway.checks.reputation import reputation
from gateway.checks.run import Check
from gateway.checks.spf import spf
from gateway.mail.phase import Phase

CHECKS: tuple[Check, ...] = (
    #     name         phase          run        port         budget
    Check("block", Phase.CONNECT, block, "", 1.0, needs_client=True, first=True),
    Check("iprev", Phase.CONNECT, iprev, "dns", 3.0, needs_client=True, behind_relay=True),
    Check("dnsbl", Phase.CONNECT, dnsbl, "dns", 4.0, needs_client=True, behind_relay=True),
    Check("asn", Phase.CONNECT, asn, "dns", 3.0, needs_client=True, behind_relay=True),
    Check("rate", Phase.CONNECT, rate, "store", 0.3, needs_client=True),
    Check("pregreet", Phase.HELO, pregreet, "", 1.0, needs_client=True),
    Check("helo", Phase.HELO, helo, "dns", 3.0),
    Check("block", Phase.MAIL, block, "", 1.0, first=True),
    Check("spf", Phase.MAIL, spf, "dns", 20.0, needs_client=True, behind_relay=True),
    Check("rate", Phase.MAIL, rate_messages, "store", 0.3, needs_client=True, after=("spf",)),
    Check("rate", Phase.RCPT, rate_recipients, "store", 0.3, needs_client=True),
    Check("reputation", Phase.MAIL, reputation, "store", 0.3, needs_client=True, after=("spf",)),
    Check("block", Phase.RCPT, block, "", 1.0, first=True),
    Check("recipient", Phase.RCPT, recipient, "mailstore", 6.0),
    Check("greylist", Phase.RCPT, greylist, "store", 0.3, needs_client=True, after=("recipient",)),
    Check("block", Phase.CONTENT, block, "", 1.0, first=True),
    Check("external_relay", Phase.CONTENT, external_relay, "", 1.0),
    Check("loop", Phase.CONTENT, loop, "", 1.0),
    Check("rate", Phase.CONTENT, rate_content, "store", 0.3, needs_client=True, after=("spf",)),
    Check("dkim", Phase.CONTENT, dkim, "dns", 10.0),
    Check("arc", Phase.CONTENT, arc, "dns", 10.0),
    Check("dmarc", Phase.CONTENT, dmarc, "dns", 10.0, after=("dkim", "spf")),
    Check("reputation", Phase.CONTENT, reputation, "store", 0.3, needs_client=True, after=("dmarc", "dkim", "spf")),
    Check("forwarder", Phase.CONTENT, forwarder, "dns", 1.0, after=("dkim", "spf")),
    Check("greylist", Phase.CONTENT, greylist_content, "store", 0.3, needs_client=True, after=("dkim", "dmarc", "spf")),
)
