"""A sending MTA finds three nodes by MX, in every way in which operators publish them; all mail is there once."""

from __future__ import annotations

from bed import NODES, Bed


def sent(site: Bed, domain: str, count: int = 12) -> dict[str, int]:
    """Send so many to a domain; place -> how many came that way, when all are in the mailbox, each once."""
    site.whole()
    before = site.transactions()
    names = [f"{number}.{domain}@sender.example" for number in range(count)]
    address = f"user@{domain}"
    there = site.delivered(address)
    site.submit(address, names)
    site.wait(lambda: len(site.delivered(address)) >= len(there) + count, f"{count} messages for {domain}")
    assert site.delivered(address) - there == dict.fromkeys(names, 1)
    site.wait(lambda: (site.transactions() - before).total() >= count, "records")
    return dict(site.transactions() - before)


def test_equal_mx_share_the_mail(site: Bed) -> None:
    ways = sent(site, "three.example", 24)
    assert set(ways) == set(NODES)
    assert set(sent(site, "example.com")) <= {"mx1", "mx2"}


def test_one_mx_with_many_addresses_shares_it_too_over_ipv4_and_ipv6(site: Bed) -> None:
    assert len(sent(site, "many.example", 24)) > 1
    assert set(sent(site, "pairs.example")) <= {"mx1", "mx2"}
    clients = {record["client_ip"] for records in site.records().values() for record in records}
    assert clients == {"203.0.113.90", "2001:db8::90"}


def test_mx_10_before_20_and_then_the_backup(site: Bed) -> None:
    assert set(sent(site, "ranked.example")) == {"mx1"}


def test_through_the_balancer_the_nodes_know_the_clients(site: Bed) -> None:
    assert len(sent(site, "balanced.example")) > 1
    assert all(
        record["client_ip"] in ("203.0.113.90", "2001:db8::90")
        for records in site.records().values()
        for record in records
    )


def test_the_other_mailstore(site: Bed) -> None:
    assert set(sent(site, "postfix.example")) <= {"mx1", "mx2"}
