"""Whom an operator lets pass greylisting at once, by ``mxgw greylist allow``.

An entry is a network or address of clients, a domain that must prove itself (SPF pass, or the client's confirmed
reverse name; all below it too), a reverse-path's mailbox (nobody has to prove it: all it saves is a delay), or
``to:`` with a recipient or a recipient domain.

Known gaps: none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network

from gateway.checks.greylist_key import confirmed_name, spf_domain
from gateway.checks.greylist_pools import below
from gateway.mail.address import AddressError, Mailbox, parse_domain, parse_mailbox
from gateway.mail.finding import Outcome
from gateway.mail.transaction import Transaction


def parse_entry(text: str) -> str:
    """An entry in the one way it is kept. Raises ValueError for what is none."""
    try:
        return str(ip_network(text, strict=False))
    except ValueError:
        pass  # no network: then a name
    prefix, name = ("to:", text[3:]) if text.lower().startswith("to:") else ("", text)
    try:
        return prefix + (str(parse_mailbox(name)).lower() if "@" in name else parse_domain(name.rstrip(".")))
    except AddressError as error:
        raise ValueError(f"{text}: neither a network, a domain, a mailbox nor to: one of these ({error})") from error


class AllowList:
    """Entries as :func:`parse_entry` gives them."""

    def __init__(self, entries: Iterable[str] = ()) -> None:
        self._networks: tuple[IPv4Network | IPv6Network, ...] = ()
        self._names: frozenset[str] = frozenset()
        self.adopt(entries)

    def adopt(self, entries: Iterable[str] | Mapping[str, str]) -> None:
        """These and no others from now on; what cannot be read is left out."""
        networks, names = [], set()
        for entry in entries:
            try:
                networks.append(ip_network(entry))
            except ValueError:
                names.add(entry)
        self._networks, self._names = tuple(networks), frozenset(names)

    def match(self, tx: Transaction) -> str:
        """The entry that names this transaction; ''."""
        if tx.connection.client_known:
            for network in self._networks:
                if tx.connection.client_ip in network:
                    return str(network)
        if not self._names:
            return ""
        spf, path = tx.findings.get("spf"), tx.envelope.reverse_path if tx.envelope else None
        found = ""
        if spf and spf.outcome is Outcome.PASS:
            found = below(spf_domain(tx), self._names)
        found = found or below(confirmed_name(tx), self._names)
        if not found and isinstance(path, Mailbox) and str(path).lower() in self._names:
            found = str(path).lower()
        if not found and tx.rcpt:
            own = (f"to:{str(tx.rcpt).lower()}", f"to:{tx.rcpt.domain}")
            found = next((entry for entry in own if entry in self._names), "")
        return found
