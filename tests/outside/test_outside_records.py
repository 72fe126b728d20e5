"""TLSA digests against OpenSSL's, the policy file's grammar, a key roll's order, what counts as alike."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest
from certificates import Authority, key_pem, new_key
from debian import need

from gateway.outside.key_roll import State, steps
from gateway.outside.mta_sts import StsPolicy, fits, record_id
from gateway.outside.tlsa import Tlsa, chain_of, of_pem, owner, read
from gateway.outside.visit import Heard

CA = Authority()


def test_3_1_1_is_what_openssl_computes(tmp_path: Path):
    key = new_key("ecdsa")
    (tmp_path / "key.pem").write_bytes(key_pem(key))
    der = subprocess.run(
        [need("openssl"), "pkey", "-in", tmp_path / "key.pem", "-pubout", "-outform", "DER"],
        capture_output=True,
        check=True,
    ).stdout
    expected = Tlsa(3, 1, 1, hashlib.sha256(der).hexdigest())
    assert of_pem(key_pem(key).decode()) == of_pem(CA.leaf(key, "mx.example.com").decode()) == expected
    public = subprocess.run(
        [need("openssl"), "pkey", "-in", tmp_path / "key.pem", "-pubout"], check=True, capture_output=True
    ).stdout
    assert of_pem(public.decode()) == expected
    assert owner("mx.example.com") == "_25._tcp.mx.example.com"


@pytest.mark.parametrize("text", ["", "nothing", "-----BEGIN CERTIFICATE-----\n"])
def test_what_is_no_key_is_told(text: str):
    with pytest.raises(ValueError):
        of_pem(text)


def test_which_records_fit_a_chain():
    chain = chain_of(CA.leaf(new_key("rsa"), "mx.example.com").decode())
    leaf, root = (hashlib.sha256(one).hexdigest() for one in chain)
    own = of_pem(CA.leaf(key := new_key("rsa"), "mx.example.com").decode())
    assert own.fits(chain_of(CA.leaf(key, "other.example.com").decode()))  # a renewal with the same key
    assert not own.fits(chain)
    assert Tlsa(3, 0, 1, leaf).fits(chain)
    assert Tlsa(2, 0, 1, root).fits(chain)
    assert not Tlsa(3, 0, 1, root).fits(chain)
    assert not Tlsa(1, 0, 1, leaf).fits(chain)
    assert Tlsa(3, 0, 2, hashlib.sha512(chain[0]).hexdigest()).fits(chain)
    assert Tlsa(3, 0, 0, chain[0].hex()).fits(chain)
    assert Tlsa.parse("3 1 1 AB cd") == Tlsa(3, 1, 1, "abcd")
    assert [one.usable for one in read(["3 1 1 ab", "0 0 1 ab", "what", "3 1 1 xy"])] == [True, False, False, False]


def test_a_policy_is_read_as_it_is_written():
    policy = StsPolicy("enforce", ("mx1.example.com", "*.mail.example.com"), 604800)
    assert StsPolicy.parse(policy.text) == policy
    assert policy.id.isalnum()
    assert len(policy.id) <= 32
    assert record_id([policy.record]) == policy.id
    assert StsPolicy("testing", policy.mx, 604800).id != policy.id
    assert [policy.covers(name) for name in ("mx1.example.com", "a.mail.example.com", "mail.example.com", "x")] == [
        True,
        True,
        False,
        False,
    ]
    assert not policy.covers("a.b.mail.example.com")
    assert fits("MX.example.com.", "mx.EXAMPLE.com")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "version: STSv2\nmode: enforce\nmx: a\nmax_age: 1",
        "version: STSv1\nmode: hard\nmx: a\nmax_age: 1",
        "version: STSv1\nmode: enforce\nmax_age: 1",
        "version: STSv1\nmode: enforce\nmx: a\nmax_age: soon",
        "<html>",
    ],
)
def test_broken_policies_are_told(text: str):
    with pytest.raises(ValueError):
        StsPolicy.parse(text)


def test_records_without_a_sound_id():
    assert record_id(["something else"]) == ""
    for records in (["v=STSv1; id=a;", "v=STSv1; id=b;"], ["v=STSv1; id=;"], ["v=STSv1; id=not-one;"]):
        with pytest.raises(ValueError):
            record_id(records)


OLD, NEW = Tlsa(3, 1, 1, "aa"), Tlsa(3, 1, 1, "bb")


@pytest.mark.parametrize(
    ("published", "coming", "serving", "done"),
    [
        ((OLD,), None, 0, "-------"),
        ((OLD,), NEW, 0, "x------"),
        ((OLD, NEW), NEW, 0, "xx-----"),
        ((OLD, NEW), NEW, 1, "xx-----"),
        ((OLD, NEW), NEW, 2, "xxxxx--"),
        ((NEW,), NEW, 2, "xxxxxx-"),
    ],
)
def test_a_key_roll_never_skips_a_wait(published: tuple[Tlsa, ...], coming: Tlsa | None, serving: int, done: str):
    found = steps(State({"mx.example.com": published}, 600, (OLD,), coming, serving, 2), now=1000.0)
    assert "".join("x" if step.done else "-" for step in found) == done
    waits = [step.not_before for step in found if not step.done]
    assert waits[-1] == max(waits)
    if not found[3].done:
        assert found[3].not_before >= 1000 + 1200
        assert found[5].not_before >= found[3].not_before + 1200
    elif not found[5].done:
        assert found[5].not_before >= 1000 + 1200


def test_replies_are_alike_but_for_ids_and_numbers():
    def like(text: str) -> str:
        return Heard(int(text[:3]), (text[4:],)).likeness

    assert like("250 2.1.5 Recipient ok [DC0XJBRGW8Z4-1]") == like("250 2.1.5 Recipient ok [DC0XJBWHVW2G-1]")
    assert like("451 4.7.1 Greylisted, come in 299 s [A1]") == like("451 4.7.1 Greylisted, come in 300 s [B2]")
    assert like("550 5.7.1 No") != like("550 5.1.1 No")
    assert like("550 5.7.1 No") != like("554 5.7.1 No")
    assert like("250 ok") != like("250 fine")
