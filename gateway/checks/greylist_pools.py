"""Large senders' pools of hosts, which never wait: they retry anyway, from any of hundreds of addresses.

A pool is known by names, not by a list of addresses that somebody has to keep: the domain of an SPF pass, the
``include:`` by which SPF passed (a customer's domain that sends through the pool; the client must really be in it), the
confirmed reverse name of the client, and after the content the domain of a passing DKIM signature. Each entry names a
domain and all below it. Access providers whose subscribers' addresses have names in the same domain do not belong here.

Known gaps: the list is as old as this version; ``exempt_domains`` of the policy adds to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

POOLS: Final = frozenset(
    {
        # mailboxes
        "gmail.com", "googlemail.com", "google.com",
        "outlook.com", "hotmail.com", "live.com", "msn.com", "microsoft.com", "onmicrosoft.com",
        "icloud.com", "me.com", "mac.com", "apple.com",
        "yahoo.com", "yahoodns.net", "yahoo.co.jp", "aol.com", "ymail.com",
        "gmx.net", "gmx.com", "gmx.de", "web.de", "mail.com", "1and1.com", "kundenserver.de",
        "mail.ru", "yandex.ru", "yandex.net", "qq.com", "163.com", "126.com", "naver.com",
        "laposte.net", "fastmail.com", "messagingengine.com", "protonmail.ch",
        "proton.me", "zoho.com", "zohomail.com", "mailbox.org", "posteo.de",
        # services that send for others
        "amazonses.com", "sendgrid.net", "mailgun.org", "mcsv.net", "mcdlv.net", "rsgsv.net", "mandrillapp.com",
        "mtasv.net", "pphosted.com", "mimecast.com", "messagelabs.com", "exacttarget.com", "salesforce.com",
        "sparkpostmail.com", "mailjet.com", "sendinblue.com", "brevo.com", "createsend.com", "hubspotemail.net",
        "zendesk.com", "freshdesk.com", "constantcontact.com", "klaviyomail.com", "emarsys.net", "cleverreach.com",
        "rapidmail.de", "github.com", "gitlab.com", "atlassian.net", "linkedin.com", "facebookmail.com", "paypal.com",
        "ebay.com", "amazon.com", "amazon.de",
    }
)  # fmt: skip


def below(domain: str, listed: Iterable[str]) -> str:
    """The entry of ``listed`` (lower case) that is the domain or a parent of it; '' if there is none."""
    names = listed if isinstance(listed, frozenset) else frozenset(listed)
    name = domain.rstrip(".").lower()
    while name:
        if name in names:
            return name
        name = name.partition(".")[2]
    return ""


def included(mechanism: str) -> str:
    """The domain of an SPF ``include:`` as written, '' for any other mechanism and for one with macros."""
    kind, _, domain = mechanism.lstrip("+").partition(":")
    return domain.lower() if kind.lower() == "include" and "%" not in domain else ""
