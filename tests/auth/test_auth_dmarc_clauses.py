"""RFC 9989 clause by clause: which names are asked for, what stops a walk, what a broken record is worth, what strangers'
name servers can and cannot do; and the comparison with RFC 7489 and the public suffix list."""

from __future__ import annotations

import pytest
from auth_zone import DictZone, PortsOf, transaction

from gateway.checks.dmarc import dmarc
from gateway.mail.finding import Cause, DkimFinding, DkimSignature, Finding, Outcome, Why
from gateway.policy.settings import DmarcSettings

TIMEOUT = Cause("dns", Why.TIMEOUT, "x")


def spf(outcome: str = "pass") -> Finding:
    return Finding("spf", Outcome(outcome), "x", {}, TIMEOUT if outcome == "temperror" else None)


def signed(**domains: str) -> DkimFinding:
    """Keyword: outcome of one domain; underscores in its name stand for dots."""
    found = tuple(DkimSignature(Outcome(word), "x", name.replace("_", ".")) for name, word in domains.items())
    best = min((one.outcome for one in found), key=[Outcome.PASS, Outcome.TEMPERROR, Outcome.FAIL].index)
    return DkimFinding("dkim", best, "x", {}, TIMEOUT if best is Outcome.TEMPERROR else None, found)


async def judge(
    zone: DictZone, author: str, *, path: str = "x@stranger.test", compare: bool = False, **findings: Finding
) -> Finding:
    tx = transaction(f"From: {author}\r\n\r\nhi\r\n".encode(), reverse_path=path, findings=findings)
    found = await dmarc(tx, PortsOf(zone), DmarcSettings(compare_public_suffix_list=compare))
    assert found is not None
    return found


# ---- section 4.10: the walk


async def test_the_walk_asks_the_eight_names_of_the_rfc_and_no_other() -> None:
    zone = DictZone({})
    found = await judge(zone, "x@a.b.c.d.e.f.g.h.i.j.mail.example.com")
    assert found.outcome is Outcome.NONE
    assert zone.asked == [
        f"_dmarc.{name} TXT"
        for name in (
            "a.b.c.d.e.f.g.h.i.j.mail.example.com",
            "g.h.i.j.mail.example.com",
            "h.i.j.mail.example.com",
            "i.j.mail.example.com",
            "j.mail.example.com",
            "mail.example.com",
            "example.com",
            "com",
        )
    ]


async def test_a_record_between_the_first_and_the_eighth_last_name_is_not_seen() -> None:
    zone = DictZone({"_dmarc.b.c.d.e.f.g.example.com": "v=DMARC1; p=reject", "_dmarc.example.com": "v=DMARC1; p=none"})
    found = await judge(zone, "x@a.b.c.d.e.f.g.example.com")
    assert (found.evidence["record_domain"], found.evidence["policy"]) == ("example.com", "none")


STOPS = [
    # the walk goes on through ordinary records: the one with the fewest labels is the organisation's
    ({"mail.example.com": "p=none", "example.com": "p=reject"}, "a.mail.example.com", "example.com", "example.com"),
    # psd=n is the organisation
    ({"mail.example.com": "psd=n; p=none", "example.com": "p=reject"}, "a.mail.example.com", "mail.example.com", "mail.example.com"),
    # psd=y: one label below is
    ({"com": "psd=y"}, "a.mail.example.com", "com", "example.com"),
    ({"example.com": "psd=y; p=reject", "com": "p=none"}, "a.mail.example.com", "example.com", "mail.example.com"),
    # psd=y where the walk starts is an ordinary record that ends it
    ({"bank.example.com": "psd=y; p=reject", "example.com": "p=none"}, "bank.example.com", "bank.example.com", "bank.example.com"),
    # a value that psd does not have is the default
    ({"mail.example.com": "psd=maybe", "example.com": "p=reject"}, "a.mail.example.com", "example.com", "example.com"),
    # of several records at one name none counts
    ({"mail.example.com": ["v=DMARC1; psd=n", "v=DMARC1; psd=n"], "example.com": "p=reject"}, "a.mail.example.com", "example.com", "example.com"),
]  # fmt: skip


@pytest.mark.parametrize(("records", "author", "record_domain", "organisation"), STOPS)
async def test_where_a_walk_stops(records: dict, author: str, record_domain: str, organisation: str) -> None:
    texts = {f"_dmarc.{name}": f"v=DMARC1; {said}" if isinstance(said, str) else said for name, said in records.items()}
    found = await judge(DictZone(texts), f"x@{author}")
    assert (found.evidence["record_domain"], found.evidence["org_domain"]) == (record_domain, organisation)


async def test_the_record_of_an_organisation_goes_before_that_of_its_public_suffix() -> None:
    zone = DictZone({"_dmarc.example.bank": "v=DMARC1; p=none", "_dmarc.bank": "v=DMARC1; psd=y; p=reject"})
    assert (await judge(zone, "x@a.example.bank")).evidence["policy"] == "none"


# ---- section 4.7: the tags


TAGS = [
    ("p=reject", "example.com", ("reject", "reject", "p", False)),
    ("p=reject; t=y", "example.com", ("quarantine", "reject", "p", True)),
    ("p=quarantine; t=y", "example.com", ("none", "quarantine", "p", True)),
    ("p=none; t=y", "example.com", ("none", "none", "p", True)),
    ("p=reject; t=maybe", "example.com", ("reject", "reject", "p", False)),
    ("p=none; sp=reject", "here.example.com", ("reject", "reject", "sp", False)),
    ("p=none; sp=reject; np=quarantine; t=y", "here.example.com", ("quarantine", "reject", "sp", True)),
    ("p=none; sp=none; np=reject; t=y", "nowhere.example.com", ("quarantine", "reject", "np", True)),
    ("p=none; sp=quarantine", "nowhere.example.com", ("quarantine", "quarantine", "sp", False)),
    ("p=reject", "nowhere.example.com", ("reject", "reject", "p", False)),
    ("p=reject; pct=0; adkim=x; aspf=; unknown", "example.com", ("reject", "reject", "p", False)),
]


@pytest.mark.parametrize(("tags", "author", "expected"), TAGS)
async def test_which_policy_is_asked_for(tags: str, author: str, expected: tuple) -> None:
    zone = DictZone({"_dmarc.example.com": f"v=DMARC1; {tags}"}, hosts=("here.example.com",))
    said = (await judge(zone, f"x@{author}")).evidence
    assert (said["policy"], said["published"], said["tag"], said["testing"]) == expected


BROKEN = ["p=bad", "p=", "p=reject; sp=bad", "p=reject; np=bad; rua=nonsense", "p=bad; rua="]


@pytest.mark.parametrize("tags", BROKEN)
async def test_a_broken_record_switches_dmarc_off_and_says_so(tags: str) -> None:
    zone = DictZone({"_dmarc.a.example.com": f"v=DMARC1; {tags}", "_dmarc.example.com": "v=DMARC1; p=reject"})
    found = await judge(zone, "x@a.example.com")
    assert (found.outcome, found.reason, found.evidence["policy"]) == (Outcome.PERMERROR, "bad-record", "none")
    # elsewhere on the walk it is no record
    assert (await judge(zone, "x@b.a.example.com")).evidence["record_domain"] == "example.com"


@pytest.mark.parametrize("rua", ["mailto:d@example.com", "https://x.example/r", "nonsense, mailto:d@example.com!10m"])
async def test_a_broken_policy_with_a_report_address_is_p_none(rua: str) -> None:
    found = await judge(DictZone({"_dmarc.example.com": f"v=DMARC1; p=bad; sp=reject; rua={rua}"}), "x@a.example.com")
    assert (found.outcome, found.evidence["policy"]) == (Outcome.FAIL, "none")


# ---- section 5.3.6: what is not known


@pytest.mark.parametrize("dead", ["_dmarc.a.example.com", "_dmarc.example.com", "_dmarc.com"])
async def test_a_discovery_that_fails_is_temperror(dead: str) -> None:
    texts = {"_dmarc.example.com": "v=DMARC1; p=reject"}
    found = await judge(DictZone(texts, fails=(dead,)), "x@a.example.com", dkim=signed(a_example_com="pass"))
    assert (found.outcome, "policy" in found.evidence) == (Outcome.TEMPERROR, False)


STRANGERS = [
    {"dkim": signed(evil_com="temperror")},
    {"dkim": signed(evil_com="pass")},
    {"dkim": signed(evil_com="temperror", example_com="fail")},
    {"spf": spf("temperror"), "path": "x@evil.com"},
    {"spf": spf(), "path": "x@evil.com", "dkim": signed(evil_com="temperror", mail_evil_com="temperror")},
    {"dkim": signed(com="temperror")},
]


@pytest.mark.parametrize("facts", STRANGERS)
async def test_a_stranger_whose_name_servers_are_dead_lifts_no_policy(facts: dict) -> None:
    zone = DictZone({"_dmarc.example.com": "v=DMARC1; p=reject"}, fails=("_dmarc.evil.com", ".evil.com", "evil.com"))
    found = await judge(zone, "x@example.com", **facts)
    assert (found.outcome, found.evidence["policy"]) == (Outcome.FAIL, "reject")
    # nor does anybody wait for them
    assert not [question for question in zone.asked if "evil" in question]


async def test_an_identifier_that_could_be_aligned_and_is_unknown_is_temperror() -> None:
    zone = DictZone({"_dmarc.example.com": "v=DMARC1; p=reject"}, fails=("_dmarc.mail.example.com",))
    assert (await judge(zone, "x@example.com", dkim=signed(mail_example_com="temperror"))).outcome is Outcome.TEMPERROR
    # whose part of the organisation it is stands in a record that nobody can read
    assert (await judge(zone, "x@example.com", dkim=signed(mail_example_com="pass"))).outcome is Outcome.TEMPERROR
    assert (await judge(zone, "x@example.com", path="x@example.com", spf=spf())).outcome is Outcome.PASS


async def test_a_subdomain_with_psd_n_is_another_organisation() -> None:
    zone = DictZone({"_dmarc.example.com": "v=DMARC1; p=reject", "_dmarc.tenant.example.com": "v=DMARC1; psd=n"})
    assert (await judge(zone, "x@example.com", dkim=signed(tenant_example_com="pass"))).outcome is Outcome.FAIL
    assert (await judge(zone, "x@tenant.example.com", dkim=signed(example_com="pass"))).outcome is Outcome.FAIL
    assert (await judge(zone, "x@example.com", dkim=signed(other_example_com="pass"))).outcome is Outcome.PASS


# ---- section 5.3.1: the author domain


ONE = [
    ('"ceo@good.test" <ann@example.com>', "example.com"),
    ('"a@good.test"@example.com', "example.com"),
    ("=?utf-8?Q?ceo=40good.test?= <ann@example.com>", "example.com"),
    ("team: Ann <ann@example.com>, bob@EXAMPLE.com;", "example.com"),
    ("Ann <änn@bücher.example>", "xn--bcher-kva.example"),
    ("(a@good.test) ann@example.com", "example.com"),
]


@pytest.mark.parametrize(("field", "domain"), ONE)
async def test_one_author_domain(field: str, domain: str) -> None:
    zone = DictZone({f"_dmarc.{domain}": "v=DMARC1; p=reject"})
    found = await judge(zone, field)
    assert (found.outcome, found.evidence["author_domain"]) == (Outcome.FAIL, domain)


NOT_ONE = [
    ("ann@example.com, eve@evil.test", "several-author-domains"),
    ("ann@example.com\r\nFrom: eve@evil.test", "several-author-domains"),
    ("team: ann@example.com, eve@evil.test;", "several-author-domains"),
    ("undisclosed:;", "no-author-domain"),
    ("=?utf-8?Q?ceo=40example.com?=", "no-author-domain"),
    ("ann@example.com@evil.test", "no-author-domain"),
    ("ann@[192.0.2.1]", "no-author-domain"),
    ("", "no-author-domain"),
]


@pytest.mark.parametrize(("field", "reason"), NOT_ONE)
async def test_none_or_several_author_domains_are_permerror(field: str, reason: str) -> None:
    found = await judge(DictZone({"_dmarc.example.com": "v=DMARC1; p=reject"}), field, dkim=signed(evil_test="pass"))
    assert (found.outcome, found.reason) == (Outcome.PERMERROR, reason)


SEVERAL = [
    ("a@example.com, b@evil.test", {}, "reject"),
    ("a@evil.test, b@quarantine.test, c@none.test", {}, "quarantine"),
    ("a@none.test, b@nobody.test", {}, "none"),
    ("a@example.com, b@evil.test", {"dkim": signed(evil_test="pass")}, "reject"),
    ("a@example.com, b@quarantine.test", {"dkim": signed(example_com="pass")}, "quarantine"),
    ("a@example.com, b@quarantine.test", {"dkim": signed(example_com="pass", quarantine_test="pass")}, "none"),
    ("a@example.com, b@evil.test@evil.test", {}, "reject"),
    ("a@dead.test, b@example.com", {}, "reject"),
]


@pytest.mark.parametrize(("field", "facts", "policy"), SEVERAL)
async def test_of_several_author_domains_the_strictest_policy_counts(field: str, facts: dict, policy: str) -> None:
    records = {"example.com": "reject", "quarantine.test": "quarantine", "none.test": "none"}
    texts = {f"_dmarc.{name}": f"v=DMARC1; p={level}" for name, level in records.items()}
    found = await judge(DictZone(texts, fails=("_dmarc.dead.test",)), field, **facts)
    assert (found.outcome, found.evidence["policy"]) == (Outcome.PERMERROR, policy)


async def test_many_author_domains_cost_little() -> None:
    zone = DictZone({})
    await judge(zone, ", ".join(f"a@x{n}.example{n}.com" for n in range(40)))
    assert len(zone.asked) <= 4 * 3


# ---- the comparison with RFC 7489


async def compared(texts: dict, author: str, **facts: object) -> tuple[dict, tuple]:
    found = await judge(DictZone(texts), author, compare=True, **facts)  # type: ignore[arg-type]
    return {key[4:]: value for key, value in found.evidence.items() if key.startswith("psl_")}, found.evidence[
        "psl_differs"
    ]


async def test_the_list_is_not_asked_unless_told_to() -> None:
    found = await judge(DictZone({"_dmarc.example.com": "v=DMARC1; p=reject"}), "x@example.com")
    assert not [name for name in found.evidence if name.startswith("psl_")]


async def test_where_both_ways_agree_nothing_differs() -> None:
    said, differs = await compared({"_dmarc.example.co.uk": "v=DMARC1; p=reject"}, "x@a.example.co.uk")
    assert differs == ()
    assert (said["outcome"], said["org_domain"], said["record_domain"], said["policy"]) == (
        "fail",
        "example.co.uk",
        "example.co.uk",
        "reject",
    )
    assert (await compared({}, "x@a.example.co.uk"))[1] == ()


DIFFERENT = [
    # a suffix of the list that is one organisation by its record, and a customer who signs as another
    ({"_dmarc.blogspot.com": "v=DMARC1; p=reject"}, "x@a.blogspot.com", {"dkim": signed(b_blogspot_com="pass")}, ("outcome", "org_domain", "record_domain", "policy"), "none"),
    # a public suffix's own policy
    ({"_dmarc.bank": "v=DMARC1; psd=y; p=reject"}, "x@example.bank", {}, ("outcome", "record_domain", "policy"), "none"),
    # np and t are not in RFC 7489
    ({"_dmarc.example.com": "v=DMARC1; p=none; np=reject"}, "x@no.example.com", {}, ("policy",), "fail"),
    ({"_dmarc.example.com": "v=DMARC1; p=reject; t=y"}, "x@example.com", {}, ("policy",), "fail"),
    # psd=n cuts an organisation in two
    ({"_dmarc.example.com": "v=DMARC1; p=reject", "_dmarc.t.example.com": "v=DMARC1; psd=n; p=reject"}, "x@t.example.com", {"dkim": signed(example_com="pass")}, ("outcome", "org_domain"), "pass"),
]  # fmt: skip


@pytest.mark.parametrize(("texts", "author", "facts", "differs", "outcome"), DIFFERENT)
async def test_where_the_two_ways_differ_the_finding_says_so(
    texts: dict, author: str, facts: dict, differs: tuple, outcome: str
) -> None:
    said, found = await compared(texts, author, **facts)
    assert (found, said["outcome"]) == (differs, outcome)


async def test_the_comparison_never_changes_the_finding() -> None:
    for texts, author, facts, _, _ in DIFFERENT:
        plain = await judge(DictZone(texts), author, **facts)
        also = await judge(DictZone(texts), author, compare=True, **facts)
        assert (plain.outcome, plain.reason, plain.cause) == (also.outcome, also.reason, also.cause)
        assert plain.evidence.items() <= also.evidence.items()


async def test_the_comparison_costs_at_most_one_question() -> None:
    for author in ("a.example.com", "1.2.3.4.5.6.7.8.9.10.example.com", "1.2.3.4.5.6.7.8.city.kawasaki.jp"):
        plain, also = DictZone({}), DictZone({})
        await judge(plain, f"x@{author}")
        await judge(also, f"x@{author}", compare=True)
        assert len(also.asked) <= len(plain.asked) + 1 <= 9


async def test_what_the_list_cannot_find_out_is_temperror_there() -> None:
    zone = DictZone({"_dmarc.a.example.com": "v=DMARC1; p=reject"}, fails=("_dmarc.a.example.com",))
    found = await judge(zone, "x@a.example.com", compare=True)
    assert (found.outcome, found.evidence["psl_outcome"]) == (Outcome.TEMPERROR, "temperror")
