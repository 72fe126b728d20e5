"""A Postfix that sends as strangers do, by MX records; and which messages have come."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from email.utils import formatdate

from postfix import Postfix

SETTINGS = """\
inet_protocols = all
default_transport = smtp:
smtp_dns_support_level = enabled
smtp_host_lookup = dns
smtp_address_preference = any
myhostname = mta.sender.example
myorigin = sender.example
smtp_connect_timeout = 3s
smtp_connection_cache_on_demand = no
"""


class Sender(Postfix):
    """within: the command that runs it in its place. extra: more settings, which win."""

    def __init__(self, within: tuple[str, ...], extra: str = "") -> None:
        super().__init__(within=within, extra=SETTINGS + extra)

    def send(self, address: str, names: Iterable[str]) -> None:
        """One message for each Message-ID."""
        for name in names:
            date = formatdate()
            head = f"From: ann@sender.example\nTo: {address}\nSubject: x\nDate: {date}\nMessage-ID: <{name}>\n\n"
            self.submit("ann@sender.example", [address], f"{head}x\n".encode())


def message_ids(messages: Iterable[bytes]) -> Counter[str]:
    """How often each is there."""
    found = (re.search(rb"(?mi)^Message-ID: <([^>]+)>", octets) for octets in messages)
    return Counter(match[1].decode() for match in found if match)
