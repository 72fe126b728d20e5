"""Local exceptions to DMARC: who is a listed forwarder or list, and what the default policy makes of it end to end."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from gateway.adapters.clock_system import SystemClock
from gateway.adapters.dns_zone import ZoneResolver
from gateway.adapters.store_memory import MemoryStore
from gateway.checks.forwarder import forwarder
from gateway.delivery.open import open_mailstore
from gateway.delivery.routes import Route, Router
from gateway.delivery.stamp import Identity
from gateway.delivery.url import MailstoreUrl
from gateway.evidence.explain import ExplainRequest, Explanation, explain
from gateway.mail.address import Mailbox, parse_mailbox
from gateway.mail.finding import Cause, DkimFinding, DkimSignature, Finding, Outcome, Why
from gateway.mail.message import Message
from gateway.mail.transaction import Connection, Envelope, Hello, Transaction
from gateway.pipeline import Pipeline
from gateway.policy.load import load_text
from gateway.policy.settings import ForwarderSettings
from gateway.ports import Ports

ROOT = Path(__file__).parents[2]
TIMEOUT = Cause("dns", Why.TIMEOUT)
LISTED = ForwarderSettings(clients=(ip_network("198.51.100.0/28"),), domains=("Lists.example.org", "*.alumni.example"))


def spf(word: str) -> Finding:
    return Finding("spf", Outcome(word), "x", {}, TIMEOUT if word == "temperror" else None)


def dkim(word: str, domain: str) -> DkimFinding:
    cause = TIMEOUT if word == "temperror" else None
    return DkimFinding("dkim", Outcome(word), "x", {}, cause, (DkimSignature(Outcome(word), "x", domain),))


async def judge(
    client: str = "192.0.2.1", path: str = "a@sender.example", content: bytes = b"", known: bool = True, **found: Finding
) -> Finding:
    tx = Transaction(
        "T",
        Connection("S", ip_address(client), client_known=known),
        0.0,
        Hello("EHLO", "h.example"),
        Envelope(parse_mailbox(path)),
        message=Message.parse(content + b"From: a@sender.example\r\n\r\n"),
        findings=found,
    )
    finding = await forwarder(tx, _no_ports(), LISTED)
    assert finding is not None
    return finding


def _no_ports() -> Ports:
    clock = SystemClock()
    return Ports(ZoneResolver.from_text(""), MemoryStore(clock), Router([]), clock)


CASES = [
    ({"client": "198.51.100.7"}, "pass", "client", "198.51.100.0/28"),
    ({"client": "198.51.100.16"}, "none", "", ""),
    ({"client": "198.51.100.7", "known": False}, "none", "", ""),
    ({"path": "b@lists.example.org", "spf": spf("pass")}, "pass", "spf", "Lists.example.org"),
    ({"path": "b@lists.example.org", "spf": spf("softfail")}, "none", "", ""),
    ({"path": "b@x.lists.example.org", "spf": spf("pass")}, "none", "", ""),
    ({"path": "b@a.b.alumni.example", "spf": spf("pass")}, "pass", "spf", "*.alumni.example"),
    ({"path": "b@alumni.example", "spf": spf("pass")}, "none", "", ""),
    ({"path": "b@evilalumni.example", "spf": spf("pass")}, "none", "", ""),
    ({"dkim": dkim("pass", "lists.example.org")}, "pass", "dkim", "Lists.example.org"),
    ({"dkim": dkim("fail", "lists.example.org")}, "none", "", ""),
    ({"dkim": dkim("policy", "lists.example.org")}, "none", "", ""),
    ({"dkim": dkim("temperror", "lists.example.org")}, "temperror", "", ""),
    ({"path": "b@lists.example.org", "spf": spf("temperror")}, "temperror", "", ""),
    ({"path": "b@lists.example.org", "spf": spf("pass"), "dkim": dkim("temperror", "lists.example.org")}, "pass", "spf", "Lists.example.org"),
    ({"dkim": dkim("temperror", "evil.example")}, "none", "", ""),
]  # fmt: skip


@pytest.mark.parametrize(("facts", "outcome", "by", "entry"), CASES)
async def test_who_is_listed(facts: dict, outcome: str, by: str, entry: str) -> None:
    found = await judge(**facts)
    assert found.outcome.value == outcome
    assert (found.evidence.get("by", ""), found.evidence.get("entry", "")) == (by, entry)


async def test_a_list_is_told_from_a_forwarder() -> None:
    assert (await judge("198.51.100.7")).reason == "forwarder"
    assert (await judge("198.51.100.7", content=b"List-Id: <x.lists.example.org>\r\n")).reason == "list"


async def test_dkim_as_a_whole_unknown_counts_for_what_signatures_name() -> None:
    field = b"DKIM-Signature: v=1; a=rsa-sha256; d=%s; s=s; h=from; bh=AAAA; b=AAAA\r\n"
    unknown = Finding.unknown("dkim", TIMEOUT)
    assert (await judge(content=field % b"lists.example.org", dkim=unknown)).outcome is Outcome.TEMPERROR
    assert (await judge(content=field % b"evil.example", dkim=unknown)).outcome is Outcome.NONE
    # one that could never have passed proves nothing, as for DMARC
    assert (await judge(content=field.replace(b"bh=", b"nobh=") % b"lists.example.org", dkim=unknown)).outcome is Outcome.NONE


# ---- the default policy, through the reception


async def told(
    section: str, tmp_path: Path, content: bytes = b"", zone: str = "", swap: tuple[bytes, bytes] = (b"", b"")
) -> Explanation:
    """A message that says it is from sender.example (p=reject), sent by relay.other.example."""
    folder = ROOT / "tests" / "messages" / "02-spoofed-reject"
    text = (ROOT / "policies" / "default.yaml").read_text()
    assert text.count("\nchecks:\n") == 1
    policy = load_text(text.replace("\nchecks:\n", f"\nchecks:\n  forwarder: {section}\n"), "default.yaml")
    mailstore = open_mailstore(MailstoreUrl.parse(f"maildir:{tmp_path / 'mail'}"), "mx1.example.net")
    router, clock = Router([Route(("example.com",), (mailstore,), "test")]), SystemClock()
    dns = ZoneResolver.from_text((folder / "zone").read_text() + zone)
    request = ExplainRequest(
        ip_address("198.51.100.7"),
        "relay.other.example",
        Mailbox("x", "other.example"),
        (Mailbox("user", "example.com"),),
        content + (folder / "msg.eml").read_bytes().replace(*swap, 1),
    )
    return await explain(
        request,
        pipeline=Pipeline(Ports(dns, MemoryStore(clock), router, clock)),
        policy=policy,
        route=router.route_for,
        identity=Identity("mx1.example.net", "mx.example.net"),
    )


async def test_the_refusal_names_the_domain_whose_policy_was_applied(tmp_path: Path) -> None:
    found = await told("{}", tmp_path)
    assert found.reply.startswith("550 5.7.1 The DMARC policy of sender.example refuses this message [")


async def test_the_name_is_that_of_the_policy_and_not_of_the_author(tmp_path: Path) -> None:
    found = await told("{}", tmp_path, swap=(b"anna@sender.", b"anna@news.sender."))
    assert found.reply.startswith("550 5.7.1 The DMARC policy of sender.example refuses this message [")


EXCEPTIONS = [
    ("{clients: [198.51.100.7]}", b"", "override=forwarder"),
    ("{domains: [other.example]}", b"", "override=forwarder"),
    ("{domains: [other.example]}", b"List-Id: <x.other.example>\r\n", "override=list"),
]


@pytest.mark.parametrize(("section", "content", "said"), EXCEPTIONS)
async def test_an_exception_lets_a_dmarc_fail_through_and_is_shown(
    section: str, content: bytes, said: str, tmp_path: Path
) -> None:
    found = await told(section, tmp_path, content)
    assert found.reply.startswith("250 ")
    field = found.fields.decode().replace("\r\n", "")
    assert f"dmarc=fail (p=reject aligned=none dis=none {said})" in field
    assert "header.from=sender.example policy.dmarc=reject" in field


async def test_a_listed_domain_that_cannot_prove_itself_now_makes_the_client_wait(tmp_path: Path) -> None:
    found = await told("{domains: [other.example]}", tmp_path, zone=";; TIMEOUT other.example TXT\n")
    assert found.reply.startswith("451 4.7.1")
