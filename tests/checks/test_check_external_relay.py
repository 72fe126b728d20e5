"""A message through a trusted relay is judged by the client behind it, and the relay's own address by nobody."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.adapters.clock_system import SystemClock
from gateway.adapters.dns_zone import ZoneResolver
from gateway.adapters.store_memory import MemoryStore
from gateway.checks.external_relay import marked, with_client
from gateway.delivery.open import open_mailstore
from gateway.delivery.routes import Route, Router
from gateway.delivery.stamp import Identity
from gateway.delivery.url import MailstoreUrl
from gateway.evidence.explain import ExplainRequest, Explanation, explain
from gateway.mail.address import Mailbox
from gateway.mail.message import Message
from gateway.mail.phase import Phase
from gateway.mail.transaction import Connection, Envelope, Hello, Transaction
from gateway.pipeline import Pipeline
from gateway.policy.load import load_text
from gateway.policy.settings import ExternalRelaySettings
from gateway.ports import Ports
from gateway.smtp.xclient import Told, take

ROOT = Path(__file__).parents[2]
RELAY, INNER, GOOD, LISTED = "198.51.100.7", "10.9.8.7", "192.0.2.10", "192.0.2.66"
NOT_NAMED = "192.168.1.20"
ZONE = """
$ORIGIN .
sender.example. TXT "v=spf1 ip4:192.0.2.10 -all"
_dmarc.sender.example. TXT "v=DMARC1; p=reject"
client.sender.example. A 192.0.2.10
10.2.0.192.in-addr.arpa. PTR client.sender.example.
66.2.0.192.dnsbl.example. A 127.0.0.2
7.100.51.198.dnsbl.example. A 127.0.0.2
"""
CONTENT = b"From: ann@sender.example\r\nTo: user@example.com\r\nSubject: x\r\n\r\nHello.\r\n"
TRUSTED: dict[str, Any] = {"trusted": ["198.51.100.0/24", f"{INNER}/32"]}
PRIVATE: dict[str, Any] = {"trusted": ["198.51.100.0/24"], "private": True}


def received(ip: str, helo: str = "client.sender.example", with_: str = "ESMTP") -> bytes:
    date = "Mon, 02 Nov 2026 10:00:00 +0000"
    return f"Received: from {helo} (rdns.example [{ip}])\r\n by relay.example with {with_} id A1; {date}\r\n".encode()


THROUGH = received(INNER, "inner.example") + received(GOOD)
FORGED = received(GOOD)


async def told(tmp_path: Path, fields: bytes, relays: dict[str, Any] | None = None, client: str = RELAY) -> Explanation:
    """A message of ann@sender.example through the relay, judged by the default policy with a block list."""
    text = yaml.safe_load((ROOT / "policies" / "default.yaml").read_text())
    text["checks"] |= {
        "dnsbl": {"sites": ["dnsbl.example=127.0.0.2*5"]},
        "greylist": {"mode": "all"},
        "external_relay": TRUSTED if relays is None else relays,
    }
    mailstore = open_mailstore(MailstoreUrl.parse(f"maildir:{tmp_path / 'mail'}"), "mx1.example.net")
    router, clock = Router([Route(("example.com",), (mailstore,), "test")]), SystemClock()
    request = ExplainRequest(
        ip_address(client), "relay.example", Mailbox("ann", "sender.example"), (Mailbox("user", "example.com"),),
        fields + CONTENT,
    )  # fmt: skip
    return await explain(
        request,
        pipeline=Pipeline(Ports(ZoneResolver.from_text(ZONE), MemoryStore(clock), router, clock)),
        policy=load_text(yaml.safe_dump(text, sort_keys=False), "policy.yaml"),
        route=router.route_for,
        identity=Identity("mx1.example.net", "mx.example.net"),
    )


def findings(found: Explanation) -> dict[str, dict[str, Any]]:
    return {step.check: step.finding for step in found.steps}


def flat(fields: bytes) -> str:
    return fields.replace(b"\r\n ", b" ").decode()


async def test_before_the_content_nothing_judges_the_relays_address(tmp_path: Path) -> None:
    found = await told(tmp_path, THROUGH)
    early = {step.check for step in found.steps if step.phase is not Phase.CONTENT}
    # the relay is on the block list, has no PTR, and everybody is greylisted
    assert early == {"helo", "recipient"}
    assert found.reply.startswith("250 ")


async def test_spf_and_dmarc_pass_for_the_client_behind_two_hops(tmp_path: Path) -> None:
    found = await told(tmp_path, THROUGH)
    by = findings(found)
    assert by["external_relay"] == {
        "outcome": "pass",
        "reason": "client-found",
        "evidence": {"relay": RELAY, "hop": 2, "client": GOOD, "helo": "client.sender.example"},
    }
    assert {name: by[name]["outcome"] for name in ("spf", "iprev", "dnsbl", "dmarc")} == {
        "spf": "pass", "iprev": "pass", "dnsbl": "none", "dmarc": "pass",
    }  # fmt: skip
    for name in ("spf", "iprev", "dnsbl"):
        assert {key: by[name]["evidence"][key] for key in ("client", "relay", "hop")} == {
            "client": GOOD, "relay": RELAY, "hop": 2,
        }  # fmt: skip
    fields = flat(found.fields)
    ours, results, spf = fields.split("\r\n")[:3]
    assert ours.startswith(f"Received: from relay.example (unknown [{RELAY}]) by mx1.example.net ")
    assert "spf=pass smtp.mailfrom=ann@sender.example" in results
    assert f"iprev=pass policy.iprev={GOOD}" in results
    assert "aligned=spf" in results
    assert f"client-ip={GOOD};" in spf
    assert "helo=client.sender.example;" in spf


@pytest.mark.parametrize(
    ("fields", "relays"),
    [
        (received(NOT_NAMED) + FORGED, PRIVATE),
        # a host that is named may prove itself to the next one
        (received(INNER, with_="ESMTPSA") + FORGED, TRUSTED),
    ],
)
async def test_the_search_goes_on_behind_a_host_of_ours(fields: bytes, relays: dict[str, Any], tmp_path: Path) -> None:
    evidence = findings(await told(tmp_path, fields, relays))["external_relay"]["evidence"]
    assert (evidence["client"], evidence["hop"]) == (GOOD, 2)


async def test_a_forger_behind_the_relay_is_refused_and_the_reply_names_him(tmp_path: Path) -> None:
    # what he wrote himself would pass
    found = await told(tmp_path, received("192.0.2.99", "evil.example") + FORGED)
    assert findings(found)["spf"]["outcome"] == "fail"
    text = "550 5.7.1 The DMARC policy of sender.example refuses this message (client 192.0.2.99) ["
    assert found.reply.startswith(text)


async def test_a_listed_client_behind_the_relay_is_refused_and_the_reply_names_him(tmp_path: Path) -> None:
    found = await told(tmp_path, received(LISTED))
    assert found.reply.startswith(f"554 5.7.1 The client address is on the block list dnsbl.example (client {LISTED}) [")
    assert findings(found)["dnsbl"]["evidence"]["listed"] == ["dnsbl.example"]


UNKNOWN = [
    (b"", {}, "no-received", 0),
    (b"Received: by relay.example with LMTP id A1\r\n" + FORGED, {}, "unreadable", 1),
    (received(INNER) + b"Received: garbage\r\n" + FORGED, {}, "unreadable", 2),
    (received(INNER), {}, "nobody-outside", 1),
    (received("192.0.2.99", with_="ESMTPSA") + FORGED, {}, "authenticated", 1),
    # a stranger may be seen by such an address, and have written what stands below
    (received(NOT_NAMED) + FORGED, {}, "private", 1),
    (received(NOT_NAMED, with_="ESMTPSA") + FORGED, {"private": True}, "authenticated", 1),
    (received(INNER) + received(NOT_NAMED, with_="ESMTPSA") + FORGED, {"private": True}, "authenticated", 2),
]


@pytest.mark.parametrize(("fields", "more", "why", "hop"), UNKNOWN)
async def test_a_client_that_cannot_be_told_is_not_guessed(
    fields: bytes, more: dict[str, Any], why: str, hop: int, tmp_path: Path
) -> None:
    found = await told(tmp_path, fields, TRUSTED | more)
    by = findings(found)
    assert by["external_relay"]["reason"] == "client-unknown"
    assert by["external_relay"]["evidence"] == {"relay": RELAY, "hop": hop, "why": why}
    assert by.keys().isdisjoint({"spf", "iprev", "dnsbl", "greylist", "rate", "reputation"})
    assert GOOD not in found.fields.decode()
    # SPF might have passed: what nobody knows is no fail
    assert (by["dmarc"]["outcome"], by["dmarc"]["cause"]["port"]) == ("temperror", "client")
    assert found.reply.startswith("250 ")
    assert b"dmarc=temperror" in found.fields


@pytest.mark.parametrize("relays", [{}, TRUSTED | {"enabled": False}, {"trusted": ["198.51.100.8"]}])
async def test_who_is_not_listed_is_the_client(relays: dict[str, Any], tmp_path: Path) -> None:
    found = await told(tmp_path, THROUGH, relays)
    assert "external_relay" not in findings(found)
    assert found.reply.startswith("554 5.7.1 The client address is on the block list dnsbl.example (client 198.51.100.7) [")


async def test_a_strangers_fields_are_not_read(tmp_path: Path) -> None:
    found = await told(tmp_path, THROUGH, client=LISTED)
    assert found.reply.startswith(f"554 5.7.1 The client address is on the block list dnsbl.example (client {LISTED}) [")


def test_what_came_in_comes_out_of_the_transaction_again() -> None:
    settings = ExternalRelaySettings.model_validate(TRUSTED)
    connection = marked(Connection("S", ip_address(RELAY), 4321), settings)
    tx = Transaction(
        "S-1", connection, 0.0, Hello("HELO", "relay.example"), Envelope(Mailbox("ann", "sender.example")),
        message=Message.parse(THROUGH + CONTENT),
    )  # fmt: skip
    judged = with_client(tx, settings)
    assert (str(judged.connection.client_ip), judged.connection.client_port, judged.hello) == (
        GOOD, 0, Hello("HELO", "client.sender.example"),
    )  # fmt: skip
    assert judged.as_connected() == tx
    assert with_client(judged, settings) == judged
    plain = replace(tx, connection=Connection("S", ip_address(GOOD)))
    assert with_client(plain, settings) is plain
    assert plain.as_connected() is plain


def test_a_relay_that_tells_its_client_by_xclient_has_one_from_the_start() -> None:
    settings = ExternalRelaySettings.model_validate(TRUSTED)
    told = take(f"ADDR={GOOD} HELO=client.sender.example", Told(marked(Connection("S", ip_address(RELAY)), settings)))
    assert (str(told.connection.client_ip), told.connection.client_known) == (GOOD, True)
    assert marked(told.connection, settings).external_relay is None


def test_a_rule_may_speak_of_a_client_that_is_not_told() -> None:
    rule = "{id: x, at: content, when: {external_relay: [neutral]}, then: quarantine}"
    assert load_text(f"version: 1\nrules:\n  - {rule}\n", "policy.yaml").default.rules[0].id == "x"
