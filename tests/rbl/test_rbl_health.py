"""What test points say of a list, when it is out and when it is back, and when its hits are beyond belief."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from gateway.adapters.dns_zone import ZoneResolver
from gateway.cluster.list_health import Health, after, worse
from gateway.cluster.list_hits import Tally, read_all, share
from gateway.cluster.list_probe import Look, Zone, explained, judge, look, resolver_faults
from gateway.cluster.list_probe import Said as Answered
from gateway.mail.dnsbl_site import parse_site
from gateway.mail.finding import Cause, Why
from gateway.policy.load import load_text
from gateway.policy.settings import DnsblSettings
from gateway.ports.lists import ListState
from gateway.yamlfile import FaultsError

KEY = "abcdefghij0123456789klmnop"
V6 = "f.f.f.f." + ".".join("0" * 20)
ZONES = ZoneResolver.from_text(f"""
2.0.0.127.sound. A 127.0.0.2
2.0.0.0.0.0.f.7.{V6}.sound. A 127.0.0.2
2.0.0.127.plain.sound. A 127.0.0.2
2.0.0.127.allow.sound. A 127.0.10.0
*.world. 77 A 127.0.0.2
*.typing. A 127.255.255.252
*.public. A 127.255.255.254
*.excess. A 127.255.255.255
*.parked. A 203.0.113.80
2.0.0.127.one. A 127.0.0.2
1.0.0.127.one. A 127.0.0.2
2.0.0.127.six. A 127.0.0.2
*.0.0.0.0.0.f.7.{V6}.six. A 127.0.0.2
*.127.hidden. A 127.0.0.2
empty. TXT nothing
;; SERVFAIL *.broken
;; TIMEOUT 1.0.0.127.half
2.0.0.127.half. A 127.0.0.2
test.names. A 127.0.1.2
*.wildnames. A 127.0.1.2
2.0.0.127.{KEY}.paid. TXT "see https://lists.test/{KEY}?ip=127.0.0.2"
""")


@pytest.mark.parametrize(
    ("domain", "state", "reason"),
    [
        ("sound", "ok", ""),
        ("plain.sound", "ok", ""),
        ("allow.sound", "ok", ""),
        ("world", "disabled", "lists-the-world"),
        ("one", "disabled", "lists-the-world"),
        ("six", "disabled", "lists-the-world"),
        ("hidden", "disabled", "lists-the-world"),
        ("typing", "disabled", "typing-error"),
        ("public", "disabled", "public-resolver"),
        ("excess", "disabled", "excessive-queries"),
        ("parked", "disabled", "foreign-answer"),
        ("empty", "degraded", "no-test-point"),
        ("broken", "degraded", "no-answer"),
        ("half", "degraded", "no-answer"),
    ],
)
async def test_test_points_of_address_lists(domain: str, state: str, reason: str) -> None:
    seen = await look(ZONES, Zone("l", domain), 1.0)
    assert (seen.state, seen.reason) == (state, reason)


async def test_more_of_a_look() -> None:
    assert (await look(ZONES, Zone("l", "sound"), 1.0)).ipv6 is True
    assert (await look(ZONES, Zone("l", "plain.sound"), 1.0)).ipv6 is False
    assert (await look(ZONES, Zone("l", "world"), 1.0)).ttl == 77
    assert (await look(ZONES, Zone("l", "names", of_domains=True), 1.0)).state == "ok"
    assert (await look(ZONES, Zone("l", "wildnames", of_domains=True), 1.0)).reason == "lists-the-world"
    # a cache on the way still says that 127.0.0.1 is not listed: the point drawn by lot tells
    wild = Answered((IPv4Address("127.0.0.2"),))
    assert judge(wild, [Answered(()), wild]).reason == "lists-the-world"
    assert judge(wild, [Answered(()), Cause("dns", Why.TIMEOUT)]).reason == "no-answer"


async def test_a_key_is_not_shown_by_a_lists_own_words() -> None:
    said = await explained(ZONES, Zone("paid", f"{KEY}.paid"), "127.0.0.2", 1.0)
    assert "https://lists.test/" in said
    assert KEY not in said


async def test_public_and_lying_resolvers_are_told() -> None:
    assert await resolver_faults(ZONES, ["127.0.0.1", "10.0.0.53"], [Look("ok")], 1.0) == []
    assert await resolver_faults(ZONES, ["8.8.8.8"], [], 1.0) == ["public-resolver 8.8.8.8 (Google)"]
    assert await resolver_faults(ZONES, ["2620:00fe::00fe"], [], 1.0) == ["public-resolver 2620:fe::fe (Quad9)"]
    told = await resolver_faults(ZONES, [], [Look("disabled", "public-resolver")], 1.0)
    assert [fault.split()[0] for fault in told] == ["public-resolver"]
    liar = ZoneResolver.from_text("*.invalid. A 203.0.113.1\n")
    assert (await resolver_faults(liar, [], [], 1.0))[0].startswith("invents-answers 203.0.113.1")


def test_out_at_once_and_back_after_ten_sound_looks_in_a_row() -> None:
    health = after(None, Look("ok"), 0.0, "mx1", 10)
    assert health.said.counts
    health = after(health, Look("disabled", "lists-the-world", ttl=100), 30.0, "mx1", 10)
    assert (health.state, health.reason, health.since) == ("disabled", "lists-the-world", 30.0)
    for turn in range(1, 10):
        health = after(health, Look("ok"), 30.0 + 30 * turn, "mx1", 10)
        assert (health.state, health.good) == ("disabled", turn)
    # one look that is not sound, and all begins again
    health = after(health, Look("degraded", "no-answer"), 400.0, "mx2", 10)
    assert (health.state, health.reason, health.good) == ("disabled", "lists-the-world", 0)
    for turn in range(10):
        assert health.state == "disabled"
        health = after(health, Look("ok"), 430.0 + turn, "mx2", 10)
    assert (health.state, health.reason) == ("ok", "")
    assert Health.of_text(health.as_text()) == health


def test_it_stays_out_while_resolvers_may_hold_its_wrong_answers() -> None:
    health = after(None, Look("disabled", "lists-the-world", ttl=86400), 0.0, "mx1", 2)
    for now in (1.0, 2.0, 3.0, 3599.0):
        health = after(health, Look("ok"), now, "mx1", 2)
        assert health.state == "disabled"
    assert after(health, Look("ok"), 3601.0, "mx1", 2).state == "ok"


def test_degraded_comes_and_goes_with_each_look() -> None:
    health = after(None, Look("degraded", "no-test-point"), 0.0, "mx1", 10)
    assert not health.said.counts
    assert after(health, Look("degraded", "no-test-point"), 9.0, "mx1", 10).since == 0.0
    assert after(health, Look("ok"), 9.0, "mx1", 10).said.counts
    # one that does not answer is asked all the same: what is not known is weighed as such
    assert after(health, Look("degraded", "no-answer"), 9.0, "mx1", 10).said.counts


def test_the_worse_of_cluster_and_node() -> None:
    ok, slow, out = ListState(), ListState("degraded", "no-answer"), ListState("disabled", "error-code")
    missing = ListState("degraded", "no-test-point")
    assert worse(ok, out) is out
    assert worse(out, ok) is out
    assert worse(slow, missing) is missing
    assert worse(ok, slow) is slow or worse(ok, slow).counts
    assert worse(missing, out) in (missing, out)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"state": "mad", "reason": "", "since": 0, "at": 0, "by": ""}'])
def test_nonsense_on_the_board_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Health.of_text(text)
    assert read_all({"mx1": text}, 60.0) == {}


SETTINGS = DnsblSettings(hit_window=60.0, hit_least=50)
NOW = 1_000_000 * 3600.0


def day(asked: int, hits: int) -> Tally:
    tally = Tally()
    for hour in range(2, 24):
        tally.add({"l": asked}, {"l": hits}, NOW - hour * 3600, 60.0)
        tally.roll(NOW - hour * 3600 + 300, 60.0, ())
    return tally


@pytest.mark.parametrize(
    ("mean", "asked", "hits", "alarm"),
    [
        ((100, 10), 100, 61, True),
        ((100, 10), 100, 59, False),  # not more than 60 %
        ((100, 13), 100, 64, False),  # not more than 5 times the mean
        ((100, 0), 100, 100, True),
        ((100, 1), 49, 49, False),  # too few clients
        ((1, 0), 100, 100, False),  # no mean yet
    ],
)
def test_hits_alarm(mean: tuple[int, int], asked: int, hits: int, alarm: bool) -> None:
    tallies = [day(*mean), Tally()]
    # two nodes see half each
    for tally, (number, held) in zip(tallies, ((asked // 2, hits // 2), (asked - asked // 2, hits - hits // 2)), strict=True):
        tally.add({"l": number}, {"l": held}, NOW, 60.0)
    kept = [Tally.of_text(tally.as_text(60.0), 60.0) for tally in tallies]
    assert kept == tallies
    assert share(kept, "l", NOW + 30, SETTINGS).alarms(SETTINGS) is alarm


def test_the_mean_stands_still_while_a_list_is_out_and_forgets_after_a_day() -> None:
    tally = day(100, 10)
    tally.add({"l": 100}, {"l": 100}, NOW, 60.0)
    tally.roll(NOW + 300, 60.0, ["l"])
    assert share([tally], "l", NOW + 300, SETTINGS).mean == pytest.approx(0.1)
    tally.roll(NOW + 25 * 3600, 60.0, ())
    assert tally.hours == {}


def test_names_of_lists() -> None:
    site = parse_site(f"spamhaus:{KEY}.zen.dq.spamhaus.net=127.0.0.[2..11]*3")
    assert (site.label, site.domain, site.weight) == ("spamhaus", f"{KEY}.zen.dq.spamhaus.net", 3.0)
    assert parse_site(f"{KEY}.zen.dq.spamhaus.net").label == "zen.dq.spamhaus.net"
    for wrong in (f"Na me:{KEY}.x.test", f":{KEY}.x.test", f"{KEY}.x.test*heavy", f"{KEY}..x.test", f"n:{KEY}.x.test=127"):
        with pytest.raises(ValueError) as told:
            parse_site(wrong)
        assert KEY not in str(told.value)


@pytest.mark.parametrize(
    "sites",
    [f"[{KEY}.x.test*heavy]", f"{KEY}.x.test", f"{{{KEY}.x.test: 1}}", f"[[{KEY}.x.test]]", f"[a:{KEY}.x.test, a:other.test]", f"[a:{KEY}.x.test, b:{KEY}.x.test]"],
)
def test_faults_of_a_policy_never_show_a_key(sites: str) -> None:
    with pytest.raises(FaultsError) as told:
        load_text(f"version: 1\nchecks:\n  dnsbl: {{sites: {sites}}}\n", "policy.yaml")
    assert KEY not in str(told.value) + "".join(map(str, told.value.faults))
