"""The drills of docs/drills.md, each by the command that operators use, against the test bed. Every one ends with nothing
lost and nothing there twice. Times are shorter than an operator's: all nodes are down for 5 seconds, not minutes."""

from __future__ import annotations

import itertools
import os
import smtplib
import time
from collections import Counter
from datetime import datetime
from pathlib import Path

import pytest
from bed import CORE, GREYLIST_DELAY, NODES, Account, Bed
from debian import MISSING
from redis_worlds import permit

ALL_DOWN = float(os.environ.get("MXGW_DRILL_ALL_DOWN", "5"))
"""Seconds; 300 is the operator's figure."""
ADDRESS = {"mx1": "203.0.113.10", "mx2": "203.0.113.20", "mx3": "203.0.113.30"}


def codes(told: Account) -> set[str]:
    """The first digits of the replies that were not 250."""
    return {text[:1] for text in told["replies"]}


def test_a_node_killed_in_data_counted_over_imap(site: Bed) -> None:
    told = site.drill(
        "node-killed-in-data",
        lambda: site.kill("mx2"),
        lambda: site.start("mx2"),
        count=f"imap://drill%40three.example@{CORE}",
        rate=12,
    )
    told.assert_nothing_lost()
    assert told["sessions_cut"] > 0
    assert codes(told) <= {"4"}


def test_a_node_drained(site: Bed) -> None:
    told = site.drill(
        "node-drained",
        lambda: site.expect(0, "cluster", "drain", "mx3"),
        lambda: site.expect(0, "cluster", "undrain", "mx3"),
        during=3,
    )
    told.assert_nothing_lost()
    assert told["sessions_cut"] == 0
    assert set(told["replies"]) == {"421 4.3.2"}, "it turned clients away, and nobody lost anything"


def test_the_primary_mx_is_down(site: Bed) -> None:
    names = [f"{number}.primary@sender.example" for number in range(6)]

    def fault() -> None:
        site.net.link("mx1", up=False)
        site.submit("user@ranked.example", names)

    before = site.delivered("user@ranked.example")
    told = site.drill("primary-down", fault, lambda: site.net.link("mx1", up=True), to="drill@ranked.example", during=12)
    told.assert_nothing_lost()
    backup = [place for place in told["accepted_at"] if "mx-backup" in place]
    assert backup, "the backup took it"
    site.wait(lambda: site.delivered("user@ranked.example") - before == Counter(names), "the MTA's mail, by the backup")


@pytest.mark.timeout(ALL_DOWN * 2 + 240)
def test_all_nodes_are_down(site: Bed) -> None:
    names = [f"{number}.all@sender.example" for number in range(6)]

    def fault() -> None:
        for name in NODES:
            site.kill(name)
        site.submit("user@three.example", names)

    told = site.drill("all-down", fault, lambda: site.start(*NODES), during=ALL_DOWN, rate=4, patience=60 + ALL_DOWN)
    told.assert_nothing_lost()
    assert told["unreached"] > 0
    site.mta.flush()
    site.wait(lambda: set(names) <= set(site.delivered("user@three.example")), "the MTA's mail")
    assert {name: site.delivered("user@three.example")[name] for name in names} == dict.fromkeys(names, 1)


def test_the_mailstore_is_down(site: Bed) -> None:
    told = site.drill("mailstore-down", site.dovecot_stop, site.dovecot_start)
    told.assert_nothing_lost()
    assert codes(told) == {"4"}


def test_the_resolver_is_dead(site: Bed) -> None:
    told = site.drill("resolver-dead", site.dns_stop, site.dns_start, during=3)
    told.assert_nothing_lost()
    assert codes(told) <= {"4"}
    words = Counter(record["spf"] for records in site.records().values() for record in records if "spf" in record)
    assert words["temperror"] > 0, "it was dead for the nodes"
    assert words["pass"] > 0


def test_the_certificate_is_swapped(site: Bed) -> None:
    def fault() -> None:
        for name in NODES:
            site.swap_certificate(name, site.certificates[1])

    told = site.drill("certificate-swapped", fault, during=60)
    told.assert_nothing_lost()
    assert told["sessions_cut"] == 0
    assert told["recovery_seconds"] < 60


def test_a_policy_with_a_fault(site: Bed, tmp_path: Path) -> None:
    unknown_key, fails_its_case = tmp_path / "a.yaml", tmp_path / "b.yaml"
    unknown_key.write_text("version: 1\nmode: enforce\nrulez: []\n", encoding="utf-8")
    fails_its_case.write_text("version: 1\nmode: enforce\nrules: []\n", encoding="utf-8")
    (tmp_path / "cases").mkdir()
    (tmp_path / "cases" / "b.yaml").write_text(
        "cases:\n  - {name: spf, policy: b, at: rcpt, findings: {spf: fail}, expect: {verdict: reject}}\n",
        encoding="utf-8",
    )
    said: list[tuple[int, str]] = []

    def fault() -> None:
        said.extend(site.run("policy", "push", file, "--reason", "drill") for file in (unknown_key, fails_its_case))

    told = site.drill("policy-fault", fault, to="drill@balanced.example")
    told.assert_nothing_lost()
    assert told["recovery_seconds"] == 0
    assert [code for code, _ in said] == [78, 1], said


def test_the_clock_of_a_node_is_an_hour_wrong(site: Bed) -> None:
    def fault() -> None:
        site.set_clock("+1h")
        site.wait(lambda: is_on(attempt(site, "mx3", "a@skew.example", "user@three.example")), "mx3 is an hour on")
        # at the jump a call to Redis may look too late, and the node lets a client pass without it
        fresh = (f"a@{number}.example" for number in itertools.count())
        who, began = site.wait(lambda: put_off(site, "mx1", next(fresh)), "mx1 greylists")
        # by the clock of mx3 the delay would be over at once
        site.wait(lambda: attempt(site, "mx3", who) == 250, "Redis decides", 30)
        assert time.monotonic() - began >= GREYLIST_DELAY

    def is_on(_: int) -> bool:
        last = site.nodes["mx3"].events("transaction")[-1:]
        return bool(last) and datetime.fromisoformat(last[0]["time"]).timestamp() > time.time() + 3000

    if not site.faketime:
        pytest.skip(f"{MISSING} libfaketime (Debian package faketime)")
    told = site.drill("clock-skew", fault, lambda: site.set_clock("+0"))
    told.assert_nothing_lost()


def test_redis_fails_over(site: Bed) -> None:
    def mend() -> None:
        with site.net.inside("core"):
            site.redis.master.start()
            permit(site.redis.master)

    told = site.drill("redis-failover", site.redis.master.stop, mend, to="drill@example.com", during=3)
    told.assert_nothing_lost()
    assert told["replies"] == {}
    with site.net.inside("core"):
        assert site.redis.replica.figures("replication")["role"] == "master"
        keys = site.redis.replica.say("KEYS", "*")
    assert keys, "the nodes write there"


def put_off(site: Bed, name: str, reverse_path: str) -> tuple[str, float] | None:
    """The reverse-path and the time before the attempt, where the answer was 451."""
    began = time.monotonic()
    return (reverse_path, began) if attempt(site, name, reverse_path) == 451 else None


def attempt(site: Bed, name: str, reverse_path: str, to: str = "user@many.example") -> int:
    """The reply to RCPT at that node; the recipient is a greylisted one."""
    with site.net.inside("mta"), smtplib.SMTP(ADDRESS[name], 25, "mta.sender.example", timeout=20) as client:
        client.ehlo()
        client.mail(reverse_path)
        return client.rcpt(to)[0]
