"""Our own ARC sets: what they cover, what they say, and that dkimpy believes them."""

from __future__ import annotations

import hashlib
import re
import smtplib
import time
from dataclasses import replace
from functools import cache
from pathlib import Path

import dkim
import pytest
import yaml
from auth_zone import DictZone, PortsOf, rsa_key, transaction
from cryptography.hazmat.primitives import serialization
from test_auth_arc import MAIL, chain, hop, judge

from gateway.auth.arc_seal import SIGNED, Sealer
from gateway.auth.arc_verify import NAMES
from gateway.auth.canonical import relaxed_field
from gateway.auth.dkim_key import Key, parse_key
from gateway.auth.dkim_tags import decode_base64, parse_tags, without_b_value
from gateway.checks.arc import arc
from gateway.delivery.arc_sealing import SealingRelay
from gateway.delivery.stamp import Identity, stamp
from gateway.mail.finding import Outcome
from gateway.mail.message import Message, OutgoingMessage
from gateway.mail.verdict import Action, Verdict
from gateway.policy.settings import ArcSettings
from gateway.ports.mailstore import DeliveryResult

OURS = "sel._domainkey.hop9.test"


class Kept:
    """A relay that keeps what it gets."""

    def __init__(self) -> None:
        self.octets = b""

    def route_for(self, domain: str) -> None:
        return None

    async def deliver(self, tx, message: OutgoingMessage, budget: float) -> DeliveryResult:
        self.octets, self.budget = b"".join(message.chunks()), budget
        return DeliveryResult("kept", {})


@cache
def sealer() -> Sealer:
    key = serialization.load_pem_private_key(rsa_key()[0], None)
    return Sealer("hop9.test", "sel", key)


def keys() -> DictZone:
    return DictZone({**{f"sel._domainkey.hop{n}.test": rsa_key()[1] for n in range(1, 10)}})


def dkimpy(octets: bytes) -> object:
    return dkim.arc_verify(octets, dnsfunc=lambda name, timeout=5: rsa_key()[1].encode())[0]


async def relayed(octets: bytes, dns: DictZone | None = None) -> bytes:
    """What a node that seals hands over."""
    tx = replace(transaction(octets), now=time.time())
    finding = await arc(tx, PortsOf(dns or keys()), ArcSettings())
    tx = tx.with_findings({"arc": finding})
    kept = Kept()
    outgoing = stamp(tx, Verdict(Action.ACCEPT, ""), Identity("mx.hop9.test", "hop9.test"))
    await SealingRelay(kept, sealer()).deliver(tx, outgoing, 10.0)
    return kept.octets


def fields(octets: bytes, name: bytes) -> list[bytes]:
    return [re.sub(rb"\r\n[ \t]+", b" ", raw) for raw in re.findall(rb"(?im)^" + name + rb":(?:[^\r\n]|\r\n[ \t])*", octets)]


async def test_the_first_set_of_a_message():
    octets = await relayed(MAIL)
    assert [len(fields(octets, name)) for name in (b"ARC-Seal", b"ARC-Message-Signature", b"ARC-Authentication-Results")] == [1, 1, 1]
    assert b"cv=none; d=hop9.test; s=sel;" in fields(octets, b"ARC-Seal")[0]
    assert fields(octets, b"ARC-Authentication-Results")[0].startswith(b"ARC-Authentication-Results: i=1; hop9.test;")
    found = await judge(octets, keys())
    assert (found.outcome, found.evidence["sealers"]) == (Outcome.PASS, ("hop9.test",))
    assert dkimpy(octets) == dkim.CV_Pass
    assert octets.endswith(MAIL)


@pytest.mark.parametrize("hops", [1, 2, 5])
async def test_a_set_upon_those_of_others(hops):
    octets = await relayed(chain(hops))
    found = await judge(octets, keys())
    assert (found.outcome, found.evidence["instance"], found.evidence["cv"]) == (Outcome.PASS, hops + 1, "pass")
    assert dkimpy(octets) == dkim.CV_Pass
    # and others go on upon ours
    assert dkimpy(hop(octets, hops + 2)) == dkim.CV_Pass


async def test_our_sets_upon_our_sets():
    octets = MAIL
    for n in range(1, 6):
        octets = await relayed(octets)
        assert ((await judge(octets, keys())).outcome, dkimpy(octets)) == (Outcome.PASS, dkim.CV_Pass), n


async def test_the_results_are_those_of_our_authentication_results():
    octets = await relayed(chain(1))
    ours = fields(octets, b"Authentication-Results")[0]
    sealed = fields(octets, b"ARC-Authentication-Results")[0]
    assert sealed.replace(b"ARC-", b"", 1).replace(b" i=2;", b"", 1).split() == ours.split()
    assert b"arc=pass" in sealed


FULL = (
    b"Received: from a by b; Mon, 1 Jan 2024 00:00:00 +0000\r\nAuthentication-Results: hop9.test; spf=fail\r\n"
    b"DKIM-Signature: v=1; d=x.test; s=s; b=AAAA\r\nX-Gateway-Id: forged\r\nFrom: ann@example.com\r\nTo: b@example.org\r\n"
    b"Subject: hi\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\nMessage-ID: <1@example.com>\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: text/plain\r\n\r\nhello\r\n"
)


async def test_what_is_signed():
    octets = await relayed(FULL)
    signature = fields(octets, b"ARC-Message-Signature")[0]
    names = re.search(rb" h=([^;]*);", signature)[1].decode().replace(" ", "").split(":")
    assert names == [
        "from", "from", "to", "to", "subject", "subject", "date", "date", "message-id", "mime-version", "content-type",
        "dkim-signature",
    ]  # fmt: skip
    assert not {"received", "authentication-results", "arc-seal", "x-gateway-id"} & set(SIGNED)
    assert (await judge(octets, keys())).outcome is Outcome.PASS
    assert b"forged" not in octets
    assert b"spf=fail" not in octets


@pytest.mark.parametrize("added", [b"Subject: buy\r\n", b"From: eve@evil.test\r\n", b"To: x@y.test\r\n", b"Date: now\r\n"])
async def test_nothing_that_people_see_can_be_added(added):
    octets = added + await relayed(FULL)
    assert (await judge(octets, keys())).outcome is Outcome.FAIL
    assert dkimpy(octets) != dkim.CV_Pass


async def test_trace_fields_can_be_added():
    octets = b"Received: from b by c; Mon, 1 Jan 2024 00:00:00 +0000\r\n" + await relayed(FULL)
    assert (await judge(octets, keys())).outcome is Outcome.PASS


async def test_a_broken_chain_is_sealed_as_failed_over_our_set_alone():
    octets = await relayed(chain(2) + b"footer\r\n")
    seal = fields(octets, b"ARC-Seal")[0]
    assert b"i=3; a=rsa-sha256; cv=fail" in seal
    found = await judge(octets, keys())
    assert (found.outcome, found.reason) == (Outcome.FAIL, "sealed-as-failed")
    # section 5.1.2: as if it were the only set
    message = Message.parse(octets)
    own = {item.name: message.raw(item) for item in message.fields if item.name in NAMES and b" i=3;" in message.raw(item)}
    covered = [relaxed_field(own[name]) for name in NAMES[:2]] + [relaxed_field(without_b_value(own[NAMES[2]])).removesuffix(b"\r\n")]
    signed = decode_base64(parse_tags(own[NAMES[2]].partition(b":")[2])["b"])
    key = parse_key(rsa_key()[1])
    assert isinstance(key, Key)
    assert key.verifies(signed, hashlib.sha256(b"".join(covered)).digest())
    # the next hop adds nothing
    assert len(fields(await relayed(octets), b"ARC-Seal")) == 3


UNSEALED = [
    (chain(2).replace(b"ARC-Seal: i=2;", b"ARC-Seal: i=7;"), None, "sets that cannot be told apart"),
    (chain(1), DictZone({}, fails=("sel._domainkey.hop1.test",)), "nobody knows yet"),
]


@pytest.mark.parametrize(("octets", "dns", "why"), UNSEALED, ids=[case[2] for case in UNSEALED])
async def test_no_set_is_added(octets, dns, why):
    assert len(fields(await relayed(octets, dns), b"ARC-Seal")) == len(fields(octets, b"ARC-Seal"))


async def test_the_fifty_first_set_is_not_made():
    octets = MAIL
    for _ in range(51):
        octets = await relayed(octets)
    assert len(fields(octets, b"ARC-Seal")) == 50
    assert (await judge(octets, keys())).outcome is Outcome.PASS
    assert dkimpy(octets) == dkim.CV_Pass


async def test_without_the_check_nothing_is_sealed():
    tx = transaction(MAIL)
    outgoing = stamp(tx, Verdict(Action.ACCEPT, ""), Identity("mx.hop9.test", "hop9.test"))
    assert await SealingRelay(Kept(), sealer()).sealed(tx, outgoing) is outgoing


async def test_a_header_that_cannot_be_signed_as_a_whole_stays_unsealed():
    octets = b"From: ann@example.com\r\n" * 11 + MAIL
    assert fields(await relayed(octets), b"ARC-Seal") == []


async def test_a_big_message():
    octets = await relayed(MAIL + b"some  words in a line \r\n" * 40_000)
    assert (await judge(octets, keys())).outcome is Outcome.PASS


def test_a_real_node_seals(start_node, tmp_path: Path):
    key = tmp_path / "arc.key"
    key.write_bytes(rsa_key()[0])
    node = start_node(settings={"arc": {"seal": {"domain": "hop9.test", "selector": "sel", "key": str(key)}}}, policy=POLICY)
    with smtplib.SMTP("127.0.0.1", node.smtp_port, local_hostname="client.example.org", timeout=30) as client:
        client.sendmail("ann@example.org", ["bob@example.com"], MAIL)
    (octets,) = node.messages()
    octets = re.sub(rb"\r?\n", b"\r\n", octets)
    assert dkimpy(octets) == dkim.CV_Pass
    assert b"cv=none; d=hop9.test" in fields(octets, b"ARC-Seal")[0]
    assert fields(octets, b"ARC-Authentication-Results")[0].startswith(b"ARC-Authentication-Results: i=1; mx.example.com;")


async def test_a_node_without_the_setting_seals_nothing():
    from gateway.config import RouteSettings, Settings
    from gateway.node.compose import relay_for, router_for

    settings = Settings(hostname="mx.example.net", routes=(RouteSettings(domains=("a.example",), mailstore=("maildir:/tmp/x",)),))
    router = router_for(settings)
    assert relay_for(settings, router) is router


POLICY = yaml.safe_dump(
    {
        "version": 1,
        "mode": "enforce",
        "checks": {"greylist": {"mode": "off"}, "helo": {"resolve": False}, "iprev": {"enabled": False}, "spf": {"enabled": False}, "dmarc": {"enabled": False}},
        "rules": [],
    }
)
