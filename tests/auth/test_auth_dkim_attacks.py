"""Everything a signature or a key can do to look better than it is, and the reason that we give."""

import asyncio
import threading
import time

import authres
import pytest
from auth_signer import MAIL, sign
from auth_zone import NOW, DictZone, PortsOf, ed25519_key, key_record, rsa_key, transaction
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from gateway.auth.canonical import BodyWant
from gateway.auth.dkim_key import parse_key
from gateway.checks.dkim import dkim, hashed
from gateway.mail.authres import authentication_results
from gateway.mail.finding import Outcome
from gateway.mail.message import Message
from gateway.policy.settings import DkimSettings

KEY = "sel._domainkey.example.com"


async def judge(octets, record=None, *, zone=None, **settings):
    zone = zone or DictZone({KEY: record or rsa_key()[1]})
    return await dkim(transaction(octets), PortsOf(zone), DkimSettings(**settings))


async def test_sound():
    found = await judge(sign(MAIL))
    assert (found.outcome, found.reason) == (Outcome.PASS, "verified")
    assert found.evidence == {"domains": ("example.com",), "count": 1, "short_key": False}
    (one,) = found.signatures
    assert (one.domain, one.selector, one.algorithm, one.key_bits) == ("example.com", "sel", "rsa-sha256", 2048)
    assert len(one.b_prefix) == 8


async def test_ed25519():
    private, record = ed25519_key()
    found = await judge(sign(MAIL, private, a="ed25519-sha256"), record)
    assert found.outcome is Outcome.PASS


async def test_no_signature_asks_nothing():
    zone = DictZone({})
    found = await judge(MAIL, zone=zone)
    assert (found.outcome, found.reason, zone.asked) == (Outcome.NONE, "no-signature", [])


LONG_TAG = "x" * 9000
CASES = [
    ({"a": "rsa-sha1"}, "permerror", "algorithm"),
    ({"a": "rsa-sha512"}, "permerror", "algorithm"),
    ({"h": "to:subject"}, "permerror", "from-not-signed"),
    ({"h": ""}, "permerror", "syntax"),
    ({"v": "2"}, "permerror", "version"),
    ({"v": None}, "permerror", "syntax"),
    ({"d": None}, "permerror", "syntax"),
    ({"d": "exa mple..com"}, "permerror", "syntax"),
    ({"s": "a/b"}, "permerror", "syntax"),
    ({"c": "strict/relaxed"}, "permerror", "canonicalization"),
    ({"q": "http/xyz"}, "permerror", "query-method"),
    ({"q": "http/xyz : dns/txt"}, "pass", "verified"),
    ({"i": "@sub.example.com"}, "pass", "verified"),
    ({"i": "ann@other.org"}, "permerror", "identity-outside-domain"),
    ({"i": "ann@badexample.com"}, "permerror", "identity-outside-domain"),
    ({"x": str(int(NOW) - 1)}, "fail", "expired"),
    ({"x": str(int(NOW) + 9)}, "pass", "verified"),
    ({"x": "soon"}, "permerror", "syntax"),
    ({"x": str(int(NOW))}, "pass", "verified"),
    ({"t": str(int(NOW) + 299)}, "pass", "verified"),
    ({"t": str(int(NOW) + 301)}, "fail", "future"),
    ({"t": str(int(NOW) + 301), "x": str(int(NOW) + 400)}, "fail", "future"),
    ({"t": "today"}, "permerror", "syntax"),
    ({"d": "example.com.", "i": "@example.com"}, "permerror", "syntax"),
    ({"t": "200", "x": "100"}, "permerror", "syntax"),
    ({"l": ""}, "permerror", "syntax"),
    ({"l": "-1"}, "permerror", "syntax"),
    ({"l": "9999"}, "permerror", "length-too-big"),
    ({"l": "5"}, "policy", "partial-body"),
    ({"z": LONG_TAG}, "permerror", "signature-too-long"),
    ({"bh": "AAAA"}, "fail", "body-hash"),
    ({"bh": "!"}, "permerror", "syntax"),
    ({"c": "simple"}, "pass", "verified"),
]


@pytest.mark.parametrize(("changes", "outcome", "reason"), CASES)
async def test_signature_field(changes, outcome, reason):
    found = await judge(sign(MAIL, **changes))
    assert (found.outcome.value, found.reason) == (outcome, reason)


@pytest.mark.parametrize("name", ["Subject", "Date", "To", "SUBJECT", "subject "])
@pytest.mark.parametrize("place", ["top", "bottom"])
async def test_a_second_field_that_people_see_must_be_signed(name, place):
    """RFC 6376 section 8.15: readers show the first, a signature covers the last."""
    second = name.encode() + b": buy now\r\n"
    signed = sign(MAIL)
    odd = second + signed if place == "top" else signed.replace(b"\r\n\r\n", b"\r\n" + second + b"\r\n", 1)
    found = await judge(odd)
    assert (found.outcome, found.reason) == (Outcome.PERMERROR, "duplicate-not-signed")
    both = sign(second + MAIL, h="from:to:to:subject:subject:date:date")
    assert (await judge(both)).outcome is Outcome.PASS


async def test_oversigned_fields_cannot_be_added():
    signed = sign(MAIL, h="from:from:to:cc:subject:subject:date")
    assert (await judge(signed)).outcome is Outcome.PASS
    assert (await judge(b"Cc: eve@evil.test\r\n" + signed)).reason == "signature"
    assert (await judge(b"Subject: x\r\n" + signed)).reason == "signature"
    assert (await judge(b"From: eve@evil.test\r\n" + signed)).reason == "signature"


async def test_a_field_that_nobody_signed_may_stand_once():
    assert (await judge(sign(MAIL, h="from"))).outcome is Outcome.PASS


async def test_internationalised_domain_and_selector():
    """RFC 8616: U-labels in d= and s= are asked for as A-labels."""
    octets = sign(MAIL, d="bücher.example", s="schlüssel", i="ann@bücher.example")
    name = "xn--schlssel-95a._domainkey.xn--bcher-kva.example"
    zone = DictZone({name: rsa_key()[1]})
    found = await judge(octets, zone=zone)
    assert (found.outcome, found.evidence["domains"], zone.asked) == (Outcome.PASS, ("xn--bcher-kva.example",), [f"{name} TXT"])


async def test_duplicate_tag():
    octets = sign(MAIL).replace(b"v=1;", b"v=1; d=example.com;", 1)
    assert (await judge(octets)).reason == "syntax"


async def test_partial_body_may_be_believed_by_policy():
    octets = sign(MAIL, l="5") + b"appended\r\n"
    found = await judge(octets)
    assert (found.outcome, found.signatures[0].partial, found.evidence["domains"]) == (Outcome.POLICY, True, ())
    believed = await judge(octets, partial_body="pass")
    assert believed.outcome is Outcome.PASS
    assert believed.signatures[0].partial


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [(b"lunch?", b"dinner?", "body-hash"), (b"Subject: lunch", b"Subject: dinner", "signature"), (b"ann@", b"eve@", "signature")],
)
async def test_tampering(before, after, reason):
    found = await judge(sign(MAIL).replace(before, after))
    assert (found.outcome, found.reason) == (Outcome.FAIL, reason)


async def test_second_from_on_top():
    found = await judge(b"From: eve@example.com\r\n" + sign(MAIL))
    assert (found.outcome, found.reason) == (Outcome.PERMERROR, "from-not-signed")


def record(**tags):
    base = {"v": "DKIM1", "k": "rsa", "p": rsa_key()[1].rpartition("p=")[2]}
    base.update(tags)
    return "; ".join(f"{tag}={value}" for tag, value in base.items() if value is not None)


def raw_rsa(bits: int, exponent: int) -> str:
    """A record of a public key nobody has the private part of."""
    n = (1 << (bits - 1)) | (1 << (bits // 2)) | 1
    return key_record(rsa.RSAPublicNumbers(exponent, n).public_key())


KEYS = [
    (record(p=""), "permerror", "key-revoked"),
    (record(p=None), "permerror", "key-syntax"),
    (record(p="a"), "permerror", "key-syntax"),
    (record(p="AAAA"), "permerror", "key-syntax"),
    (record(v="DKIM2"), "permerror", "key-version"),
    (record(h="sha1"), "permerror", "key-hash"),
    (record(h="sha1 : sha256"), "pass", "verified"),
    (record(s="other"), "permerror", "key-service"),
    (record(s="other : email"), "pass", "verified"),
    (record(k="dsa"), "permerror", "key-type"),
    (record(k=None, v=None), "pass", "verified"),
    (record(t="s"), "pass", "verified"),
    (ed25519_key()[1], "permerror", "key-type"),
    ("v=spf1 -all", "permerror", "no-key"),
    ("v=DKIM1; p=a; p=b", "permerror", "key-syntax"),
    ("v=DKIM1; p=" + "A" * 9000, "permerror", "key-unacceptable"),
    (raw_rsa(1023, 65537), "permerror", "key-too-short"),
    (raw_rsa(768, 65537), "permerror", "key-too-short"),
    (raw_rsa(4104, 65537), "permerror", "key-unacceptable"),
]


@pytest.mark.parametrize(("text", "outcome", "reason"), KEYS, ids=[f"{n}-{key[2]}" for n, key in enumerate(KEYS)])
async def test_key_record(text, outcome, reason):
    found = await judge(sign(MAIL), text)
    assert (found.outcome.value, found.reason) == (outcome, reason)


async def test_t_s_forbids_a_subdomain():
    found = await judge(sign(MAIL, i="@sub.example.com"), record(t="y:s"))
    assert (found.reason, found.signatures[0].testing) == ("identity-not-exact", True)


async def test_short_key():
    assert (await judge(sign(MAIL), min_rsa_bits=2048)).outcome is Outcome.PASS
    assert (await judge(sign(MAIL), min_rsa_bits=3072)).reason == "key-too-short"


async def test_an_rsa_key_of_less_than_2048_bits_is_marked_or_refused():
    private, text = rsa_key(1024)
    octets = sign(MAIL, serialization.load_pem_private_key(private, None))
    found = await judge(octets, text)
    assert (found.outcome, found.reason, found.evidence["short_key"]) == (Outcome.PASS, "verified", True)
    assert found.signatures[0].key_bits == 1024
    field = authentication_results(transaction(octets).with_findings({"dkim": found}), "mx.example.net").decode()
    assert "dkim=pass (1024-bit key) header.d=example.com" in field
    (read,) = authres.AuthenticationResultsHeader.parse(field.rstrip("\r\n")).results
    assert (read.result, read.header_d) == ("pass", "example.com")
    refused = await judge(octets, text, short_key="refuse")
    assert (refused.outcome, refused.reason, refused.evidence["domains"]) == (Outcome.POLICY, "short-key", ())
    beside = sign(octets, s="long")
    found = await judge(beside, zone=DictZone({KEY: text, KEY.replace("sel", "long"): rsa_key()[1]}))
    assert (found.outcome, found.evidence["short_key"]) == (Outcome.PASS, False)


async def test_ed25519_is_no_short_key():
    private, text = ed25519_key()
    octets = sign(MAIL, private, a="ed25519-sha256")
    found = await judge(octets, text, short_key="refuse")
    assert (found.outcome, found.evidence["short_key"]) == (Outcome.PASS, False)


async def test_missing_key_and_silent_server():
    assert (await judge(sign(MAIL), zone=DictZone({}))).reason == "no-key"
    found = await judge(sign(MAIL), zone=DictZone({}, fails=(KEY,)))
    assert (found.outcome, found.cause.port, found.cause.why.value) == (Outcome.TEMPERROR, "dns", "timeout")
    assert found.signatures[0].outcome is Outcome.TEMPERROR


async def test_a_pass_beside_a_silent_server_is_a_pass():
    octets = sign(sign(MAIL), s="other")
    found = await judge(octets, zone=DictZone({KEY: rsa_key()[1]}, fails=(".example.com",)))
    assert found.outcome is Outcome.TEMPERROR
    found = await judge(octets, zone=DictZone({KEY: rsa_key()[1]}, fails=("other._domainkey.example.com",)))
    assert (found.outcome, found.cause) == (Outcome.PASS, None)
    assert [one.outcome.value for one in found.signatures] == ["temperror", "pass"]


async def test_several_records_at_one_name():
    assert (await judge(sign(MAIL), zone=DictZone({KEY: ["v=spf1 -all", rsa_key()[1]]}))).outcome is Outcome.PASS


async def test_flood_of_signatures_tries_the_aligned_one():
    octets = sign(MAIL)
    for n in range(100):
        octets = sign(octets, d=f"spam{n}.test")
    zone = DictZone({KEY: rsa_key()[1]})
    found = await judge(octets, zone=zone, max_signatures=3)
    assert (found.outcome, found.evidence["count"], len(zone.asked)) == (Outcome.PASS, 101, 3)
    assert found.signatures[2].domain == "example.com"
    assert {one.reason for one in found.signatures[3:]} == {"not-tried"}


async def test_those_not_tried_are_named():
    octets = sign(sign(MAIL), d="spam.test")
    for n in range(20):
        octets = sign(octets, d=f"spam{n}.test")
    zone = DictZone({KEY: rsa_key()[1]})
    found = await judge(octets, zone=zone)
    tried, named = found.signatures[:8], found.signatures[8:]
    assert (found.outcome, found.evidence["count"], len(zone.asked)) == (Outcome.PASS, 22, 8)
    assert (tried[-1].domain, tried[-1].outcome) == ("example.com", Outcome.PASS)
    assert [(one.outcome, one.reason) for one in named] == [(Outcome.POLICY, "not-tried")] * 14
    assert len({one.domain for one in found.signatures}) == 22


async def test_own_field_in_h_means_the_others():
    inner = sign(MAIL)
    found = await judge(sign(inner, h="from:dkim-signature"))
    assert [one.outcome.value for one in found.signatures] == ["pass", "pass"]


def test_huge_exponent_is_refused_unused():
    assert parse_key(raw_rsa(2048, 2**33 + 1)) in ("key-unacceptable", "key-syntax")


async def test_blanks_in_the_field_cost_nothing():
    octets = sign(MAIL, z=" " * 7000)
    started = time.process_time()
    await judge(octets)
    assert time.process_time() - started < 0.5


async def test_big_body_is_hashed_off_the_loop():
    big = MAIL + b"some words in a line\r\n" * 100_000
    assert (await judge(sign(big))).outcome is Outcome.PASS


async def test_a_budget_that_ends_stops_the_thread_that_hashes():
    big = sign(MAIL + b"some  words in a  line\r\n" * 1_500_000)
    message = Message.parse(big)
    threads = threading.active_count()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await hashed(message, {BodyWant(True), BodyWant(False)})
    async with asyncio.timeout(5):
        await asyncio.to_thread(lambda: None)
    assert threading.active_count() <= threads + 2


async def test_long_h_times_many_fields_costs_their_sum():
    names = ":".join(f"x{n:x}" for n in range(1500))
    octets = sign(b"".join(b"Y%d: 1\r\n" % n for n in range(1900)) + MAIL, h="from:" + names)
    started = time.process_time()
    found = await judge(octets)
    assert (found.outcome, time.process_time() - started < 0.3) == (Outcome.PASS, True)


async def test_two_thousand_signatures_cost_little():
    one = sign(MAIL).removesuffix(MAIL)
    started = time.process_time()
    found = await judge(one * 1900 + MAIL)
    assert (found.outcome, len(found.signatures), found.evidence["count"]) == (Outcome.PASS, 8 + 16, 1900)
    assert time.process_time() - started < 1.0


async def test_empty_name_in_h_signs_nothing():
    assert (await judge(sign(b"not a field\r\n" + MAIL, h="from:to:"))).outcome is not Outcome.TEMPERROR
