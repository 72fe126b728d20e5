"""What a list's state means for the finding of one client."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Any, cast

from gateway.adapters.clock_system import SystemClock
from gateway.adapters.dns_recording import RecordingResolver
from gateway.adapters.dns_zone import ZoneResolver
from gateway.checks.dnsbl import dnsbl
from gateway.cluster.list_watch import Watched
from gateway.mail.finding import Finding
from gateway.mail.transaction import Connection, Transaction
from gateway.node.list_desk import WorkerLists
from gateway.policy.load import load_text
from gateway.policy.settings import DnsblSettings
from gateway.ports import Ports

ZONE = """
5.2.0.192.one.test. A 127.0.0.2
5.2.0.192.two.test. A 127.0.0.4
5.2.0.192.allow.test. A 127.0.5.3
;; TIMEOUT *.silent.test
"""
SITES = ("one.test*5", "two.test=127.0.0.[2..3]*5", "two.test=127.0.0.4*3", "allow.test*-1")


class Client:
    """192.0.2.5, which all lists hold."""

    def __init__(self) -> None:
        self.desk = WorkerLists()
        self.dns = RecordingResolver(ZoneResolver.from_text(ZONE))

    async def judged(self, sites: tuple[str, ...] = SITES, **states: list[Any]) -> Finding:
        unused = cast(Any, None)
        self.desk.told({f"{name}.test": state for name, state in states.items()})
        ports = replace(Ports(self.dns, unused, unused, SystemClock()), lists=self.desk)
        tx = Transaction("t1", Connection("s1", ip_address("192.0.2.5")), 0.0)
        return await dnsbl(tx, ports, DnsblSettings(sites=sites))

    @property
    def asked(self) -> set[str]:
        return {one.name.removeprefix("5.2.0.192.") for one in self.dns.asked}


async def test_sound_lists_count_and_their_hits_are_counted() -> None:
    client = Client()
    finding = await client.judged(one=["ok", "", 0.0])
    assert finding.evidence["score"] == 7.0
    assert "out_lists" not in finding.evidence
    await client.judged(("silent.test", "two.test=127.0.0.9", "one.test"))
    assert client.desk.take() == {
        "asked": {"one.test": 2, "two.test": 2, "allow.test": 1},
        "hits": {"one.test": 2, "two.test": 1, "allow.test": 1},
    }
    assert client.desk.take() is None


async def test_a_disabled_list_is_not_asked_and_does_not_count() -> None:
    client = Client()
    finding = await client.judged(one=["disabled", "lists-the-world", 1.0], two=["degraded", "no-test-point", 1.0])
    assert client.asked == {"allow.test"}
    assert (finding.evidence["score"], finding.evidence["lists"]) == (-1.0, 1)
    assert finding.evidence["out_lists"] == ("one.test disabled:lists-the-world", "two.test degraded:no-test-point")


async def test_one_that_is_out_for_its_hits_is_asked_and_does_not_count() -> None:
    client = Client()
    finding = await client.judged(one=["disabled", "hit-ratio", 1.0], allow=["disabled", "hit-ratio", 1.0])
    assert "one.test" in client.asked
    assert (finding.evidence["score"], finding.evidence["listed"]) == (3.0, ("two.test",))
    taken = client.desk.take()
    assert taken is not None
    assert taken["hits"]["one.test"] == 1
    # and where it does not answer, nothing is unknown
    finding = await client.judged(("silent.test*9", "one.test*5"), silent=["disabled", "hit-ratio", 1.0])
    assert (finding.outcome.value, finding.evidence["score"]) == ("fail", 5.0)


async def test_where_no_list_is_left() -> None:
    client = Client()
    finding = await client.judged(("one.test*5",), one=["disabled", "error-code", 1.0])
    assert (finding.outcome.value, finding.reason, finding.evidence["lists"]) == ("none", "lists-out", 0)
    assert finding.evidence["out_lists"] == ("one.test disabled:error-code",)


async def test_one_that_did_not_answer_a_look_is_asked_and_weighed_as_unknown() -> None:
    finding = await Client().judged(("silent.test*9", "one.test*5"), silent=["degraded", "no-answer", 1.0])
    assert finding.outcome.value == "temperror"
    assert (finding.evidence["score_least"], finding.evidence["score_most"]) == (5.0, 14.0)


def test_lists_of_all_profiles_are_watched_and_those_of_a_check_that_is_off_are_not() -> None:
    watched = Watched.of(
        load_text(
            "version: 1\n"
            "checks: {dnsbl: {sites: [one.test*2, one.test=127.0.0.9*3], domain_sites: ['d:names.test']}}\n"
            "profiles:\n"
            "  - {name: more, domains: [a.example], checks: {dnsbl: {sites: [two.test]}}}\n"
            "  - {name: off, domains: [b.example], checks: {dnsbl: {enabled: false, sites: [three.test]}}}\n",
            "policy.yaml",
        )
    )
    assert [(zone.name, zone.of_domains) for zone in watched.zones] == [
        ("one.test", False),
        ("d", True),
        ("two.test", False),
    ]
