"""DMARC tables: who is aligned, whose record applies and what it asks for."""

from dataclasses import replace

import pytest
from auth_zone import DictZone, PortsOf, transaction

from gateway.auth.dmarc_record import choose_record
from gateway.auth.orgdomain import organisational, walk
from gateway.checks.dmarc import dmarc
from gateway.mail.finding import Cause, DkimFinding, DkimSignature, Finding, Outcome, Why
from gateway.policy.settings import DmarcSettings

TIMEOUT = Cause("dns", Why.TIMEOUT, "x")
BASE = {"_dmarc.example.com": "v=DMARC1; p=reject", "_dmarc.com": "v=DMARC1; psd=y; p=none"}


def spf(outcome="pass", **evidence):
    cause = TIMEOUT if outcome == "temperror" else None
    return Finding("spf", Outcome(outcome), "x", evidence, cause)


def signed(*domains, outcome="pass"):
    cause = TIMEOUT if outcome == "temperror" else None
    return DkimFinding("dkim", Outcome(outcome), "x", {}, cause, tuple(DkimSignature(Outcome(outcome), "x", d) for d in domains))


async def judge(zone, author="ann@example.com", *, path="x@other.test", helo="mail.other.test", hosts=(), fails=(), frm=None, **findings):
    if isinstance(zone, dict):
        zone = DictZone(zone, hosts, fails)
    octets = frm or f"From: {author}\r\n\r\nhi\r\n".encode()
    tx = transaction(octets, reverse_path=path, helo=helo, findings=findings)
    return await dmarc(tx, PortsOf(zone), DmarcSettings())


ALIGNMENT = [
    ("p=reject", {"dkim": signed("example.com")}, "pass", ("dkim",)),
    ("p=reject", {"dkim": signed("mail.example.com")}, "pass", ("dkim",)),
    ("p=reject; adkim=s", {"dkim": signed("mail.example.com")}, "fail", ()),
    ("p=reject; adkim=s", {"dkim": signed("mail.example.com", "example.com")}, "pass", ("dkim",)),
    ("p=reject", {"dkim": signed("other.com")}, "fail", ()),
    ("p=reject", {"dkim": signed("com")}, "fail", ()),
    ("p=reject", {"dkim": signed("notexample.com")}, "fail", ()),
    ("p=reject", {"dkim": signed("example.com", outcome="fail")}, "fail", ()),
    ("p=reject", {"spf": spf(), "path": "x@example.com"}, "pass", ("spf",)),
    ("p=reject", {"spf": spf(), "path": "x@bounce.example.com"}, "pass", ("spf",)),
    ("p=reject; aspf=s", {"spf": spf(), "path": "x@bounce.example.com"}, "fail", ()),
    ("p=reject", {"spf": spf(), "path": "x@other.test", "helo": "example.com"}, "fail", ()),
    ("p=reject", {"spf": spf(identity="helo"), "path": "x@example.com"}, "fail", ()),
    ("p=reject", {"spf": spf(), "path": "", "helo": "mail.example.com"}, "pass", ("spf",)),
    ("p=reject", {"spf": spf(), "path": "", "helo": "[192.0.2.1]"}, "fail", ()),
    ("p=reject", {"spf": spf("softfail"), "path": "x@example.com"}, "fail", ()),
    ("p=reject", {"spf": spf(), "path": "x@example.com", "dkim": signed("example.com")}, "pass", ("spf", "dkim")),
    ("p=reject", {"spf": spf("temperror"), "path": "x@example.com"}, "temperror", ()),
    ("p=reject", {"spf": spf("temperror"), "path": "x@evil.test"}, "fail", ()),
    ("p=reject", {"dkim": signed("example.com", outcome="temperror")}, "temperror", ()),
    ("p=reject", {"dkim": signed("evil.test", outcome="temperror")}, "fail", ()),
    ("p=reject", {"dkim": signed("example.com", outcome="policy")}, "fail", ()),
    ("p=reject", {"dkim": signed("evil.com", outcome="temperror")}, "fail", ()),
    ("p=reject", {"spf": spf("temperror"), "path": "x@example.com", "dkim": signed("example.com")}, "pass", ("dkim",)),
]


@pytest.mark.parametrize(("record", "facts", "outcome", "aligned"), ALIGNMENT)
async def test_alignment(record, facts, outcome, aligned):
    found = await judge({**BASE, "_dmarc.example.com": "v=DMARC1; " + record}, **facts)
    assert (found.outcome.value, found.evidence["aligned"]) == (outcome, aligned)
    assert found.evidence["policy"] == "reject"
    assert found.evidence["author_domain"] == found.evidence["org_domain"] == "example.com"


@pytest.mark.parametrize(
    ("path", "signatures", "outcome"),
    [
        ("x@example.com", (), "temperror"),
        ("x@bounce.example.com", ("other.test",), "temperror"),
        ("x@other.test", (), "fail"),
        ("x@example.com", ("example.com",), "pass"),
    ],
)
async def test_where_nobody_tells_the_client_spf_might_have_passed(path, signatures, outcome):
    tx = transaction(b"From: ann@example.com\r\n\r\nhi\r\n", reverse_path=path, findings={"dkim": signed(*signatures)})
    tx = replace(tx, connection=replace(tx.connection, client_known=False))
    found = await dmarc(tx, PortsOf(DictZone(BASE)), DmarcSettings())
    assert found.outcome.value == outcome
    assert (found.cause is not None and found.cause.port == "client") == (outcome == "temperror")


POLICIES = [
    # own record: p, whatever sp and np say
    ("example.com", "p=reject; sp=none; np=none", (), ("reject", "p", "example.com")),
    ("example.com", "p=reject; t=y", (), ("quarantine", "p", "example.com")),
    ("example.com", "p=quarantine; t=y", (), ("none", "p", "example.com")),
    ("example.com", "sp=reject", (), ("none", "p", "example.com")),
    ("example.com", "p=Reject; pct=0; rf=x; unknown=y", (), ("reject", "p", "example.com")),
    ("example.com", "p=bad; rua=mailto:d@example.com", (), ("none", "p", "example.com")),
    # a subdomain that exists
    ("a.example.com", "p=reject", ("a.example.com",), ("reject", "p", "example.com")),
    ("a.example.com", "p=reject; sp=quarantine; np=none", ("a.example.com",), ("quarantine", "sp", "example.com")),
    ("b.a.example.com", "p=none; sp=reject; t=y", ("b.a.example.com",), ("quarantine", "sp", "example.com")),
    ("a.example.com", "p=none; sp=none; np=reject", ("x.a.example.com",), ("none", "sp", "example.com")),
    # one that does not
    ("no.example.com", "p=none; sp=none; np=reject", (), ("reject", "np", "example.com")),
    ("no.example.com", "p=none; np=reject; t=y", (), ("quarantine", "np", "example.com")),
    ("no.example.com", "p=none; sp=reject", (), ("reject", "sp", "example.com")),
    ("my-bank.example.com", "p=reject", (), ("reject", "p", "example.com")),
]


@pytest.mark.parametrize(("author", "record", "hosts", "expected"), POLICIES)
async def test_policy(author, record, hosts, expected):
    found = await judge({**BASE, "_dmarc.example.com": "v=DMARC1;" + record}, "x@" + author, hosts=hosts)
    assert found.outcome is Outcome.FAIL
    assert (found.evidence["policy"], found.evidence["tag"], found.evidence["record_domain"]) == expected


@pytest.mark.parametrize(
    "texts",
    [
        [],
        ["v=spf1 -all"],
        ["v=DMARC1x; p=reject"],
        ["v=dmarc1; p=reject"],
        ["p=reject; v=DMARC1"],
        ["v=DMARC1; p=reject", "v=DMARC1; p=none"],
    ],
)
async def test_no_record(texts):
    found = await judge({"_dmarc.example.com": texts}, dkim=signed("example.com"))
    assert (found.outcome, found.reason, found.evidence["policy"]) == (Outcome.NONE, "no-record", "none")


def test_record_spelling():
    assert choose_record(["v = DMARC1 ;p = reject ; "]).p == "reject"
    assert choose_record(["google-site-verification=1", "v=DMARC1;p=none"]).p == "none"
    assert choose_record(["v=DMARC1"]).p == "none"


PSD = [
    # the suffix publishes psd=y: one label below is the organisation
    ({"_dmarc.gov.test": "v=DMARC1; p=reject; psd=y"}, "a.b.gov.test", "b.gov.test"),
    ({"_dmarc.gov.test": "v=DMARC1; p=reject; psd=y"}, "gov.test", "gov.test"),
    # psd=n stops the walk
    ({"_dmarc.b.test": "v=DMARC1; psd=n", "_dmarc.test": "v=DMARC1; p=none"}, "a.b.test", "b.test"),
    # otherwise the fewest labels
    ({"_dmarc.a.b.test": "v=DMARC1", "_dmarc.b.test": "v=DMARC1"}, "a.b.test", "b.test"),
    ({}, "a.b.test", "a.b.test"),
]


@pytest.mark.parametrize(("zone", "domain", "expected"), PSD)
def test_organisational_domain(zone, domain, expected):
    records = {name: choose_record([zone[f"_dmarc.{name}"]] if f"_dmarc.{name}" in zone else []) for name in walk(domain)}
    assert organisational(domain, records) == expected


def test_walk_has_at_most_eight_names():
    assert walk("example.com") == ("example.com", "com")
    assert len(walk("a.b.c.d.e.f.g.test")) == 8
    nine = walk("1.a.b.c.d.e.f.g.test")
    assert nine[:2] == ("1.a.b.c.d.e.f.g.test", "b.c.d.e.f.g.test")
    assert len(nine) == 8
    assert nine[-1] == "test"
    assert len(walk(".".join("x" * 60) + ".test")) == 8


async def test_public_suffix_record_applies_to_those_without_one():
    zone = {"_dmarc.bank.test": "v=DMARC1; p=none; sp=quarantine; np=reject; psd=y"}
    found = await judge(zone, "x@my.bank.test", hosts=("my.bank.test",))
    assert (found.evidence["policy"], found.evidence["record_domain"], found.evidence["org_domain"]) == ("quarantine", "bank.test", "my.bank.test")
    assert (await judge(zone, "x@no.bank.test")).evidence["policy"] == "reject"
    # two customers of one suffix are strangers
    assert (await judge(zone, "x@my.bank.test", hosts=("my.bank.test",), dkim=signed("your.bank.test"))).outcome is Outcome.FAIL


async def test_many_labels():
    found = await judge(BASE, "x@1.2.3.4.5.6.7.8.9.example.com", dkim=signed("example.com"))
    assert found.outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (b"From: a@example.com, b@other.test\r\n\r\n", "several-author-domains"),
        (b"From: a@example.com\r\nFrom: b@other.test\r\n\r\n", "several-author-domains"),
        (b"From: a@example.com@other.test\r\n\r\n", "no-author-domain"),
        (b"From: nobody\r\n\r\n", "no-author-domain"),
        (b"Subject: x\r\n\r\n", "no-author-domain"),
    ],
)
async def test_not_one_author_domain(header, reason):
    zone = DictZone(BASE)
    found = await judge(zone, frm=header)
    assert (found.outcome, found.reason) == (Outcome.PERMERROR, reason)
    assert found.evidence["policy"] == ("reject" if reason.startswith("several") else "none")


async def test_record_that_nobody_can_read():
    found = await judge({}, fails=("_dmarc.example.com",), dkim=signed("example.com"))
    assert (found.outcome, "policy" in found.evidence) == (Outcome.TEMPERROR, False)


async def test_failure_above_matters_only_where_alignment_needs_it():
    fails = ("_dmarc.com",)
    assert (await judge(BASE, fails=fails, dkim=signed("example.com"))).outcome is Outcome.PASS
    assert (await judge(BASE, fails=fails)).outcome is Outcome.FAIL
    found = await judge(BASE, fails=fails, dkim=signed("a.example.com"))
    assert (found.outcome, found.evidence["policy"]) == (Outcome.TEMPERROR, "reject")


async def test_existence_that_nobody_knows():
    zone = {**BASE, "_dmarc.example.com": "v=DMARC1; p=none; np=reject"}
    found = await judge(zone, "x@a.example.com", fails=("a.example.com",))
    assert (found.outcome, "policy" in found.evidence) == (Outcome.TEMPERROR, False)


async def test_whole_dkim_unknown_counts_for_what_signatures_name():
    unknown = Finding.unknown("dkim", TIMEOUT)
    sig = b"DKIM-Signature: v=1; a=rsa-sha256; d=%s; s=s; h=from; bh=AAAA; b=AAAA\r\nFrom: ann@example.com\r\n\r\n"
    assert (await judge(BASE, frm=sig % b"example.com", dkim=unknown)).outcome is Outcome.TEMPERROR
    assert (await judge(BASE, frm=sig % b"evil.test", dkim=unknown)).outcome is Outcome.FAIL
    assert (await judge(BASE, dkim=unknown)).outcome is Outcome.FAIL
