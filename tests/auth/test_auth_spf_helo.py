"""The HELO identity (RFC 7208 section 2.3): checked and shown beside MAIL FROM, and never in its place."""

from __future__ import annotations

import authres
import pytest
from auth_zone import DictZone, PortsOf, transaction

from gateway.checks.dmarc import dmarc
from gateway.checks.spf import spf
from gateway.mail.authres import authentication_results
from gateway.mail.finding import Outcome
from gateway.policy.settings import DmarcSettings, SpfSettings

ZONE = {
    "sender.example": "v=spf1 -all",
    "relay.example": "v=spf1 ip4:192.0.2.1 -all",
    "_dmarc.relay.example": "v=DMARC1; p=reject",
}
MAIL = b"From: a@relay.example\r\n\r\nhi\r\n"


def results(octets: bytes) -> list[tuple[str, str, str]]:
    read = authres.AuthenticationResultsHeader.parse(octets.decode().rstrip("\r\n"))
    return [(one.result, one.properties[0].name, one.properties[0].value) for one in read.results]


async def checked(reverse_path: str, helo: str, settings: SpfSettings | None = None, fails: tuple[str, ...] = ()):
    tx = transaction(MAIL, reverse_path=reverse_path, helo=helo)
    finding = await spf(tx, PortsOf(DictZone(ZONE, fails=fails)), settings or SpfSettings())
    return finding, tx.with_findings({"spf": finding})


async def test_both_identities_are_shown() -> None:
    finding, tx = await checked("a@sender.example", "relay.example")
    assert finding.outcome is Outcome.FAIL
    assert (finding.evidence["helo_domain"], finding.evidence["helo_outcome"]) == ("relay.example", "pass")
    shown = results(authentication_results(tx, "mx.example.net"))
    assert shown == [("fail", "mailfrom", "a@sender.example"), ("pass", "helo", "relay.example")]


async def test_a_pass_of_hello_alone_never_aligns() -> None:
    _, tx = await checked("a@sender.example", "relay.example")
    found = await dmarc(tx, PortsOf(DictZone(ZONE)), DmarcSettings())
    assert found is not None
    assert found.outcome is Outcome.FAIL


async def test_trouble_with_hello_does_not_hide_mail_from() -> None:
    finding, _ = await checked("a@sender.example", "relay.example", fails=("relay.example",))
    assert finding.outcome is Outcome.FAIL
    assert finding.evidence["helo_outcome"] == "temperror"


@pytest.mark.parametrize("helo", ["sender.example", "[192.0.2.1]", "localhost", "no name", ""])
async def test_nothing_is_asked_twice_or_for_no_name(helo: str) -> None:
    finding, tx = await checked("a@sender.example", helo)
    assert "helo_outcome" not in finding.evidence
    assert len(results(authentication_results(tx, "mx.example.net"))) == 1


async def test_a_null_reverse_path_has_one_identity() -> None:
    finding, tx = await checked("", "relay.example")
    assert (finding.outcome, finding.evidence["identity"]) == (Outcome.PASS, "helo")
    assert results(authentication_results(tx, "mx.example.net")) == [("pass", "helo", "relay.example")]


async def test_the_second_check_can_be_switched_off() -> None:
    finding, _ = await checked("a@sender.example", "relay.example", SpfSettings(helo=False))
    assert "helo_outcome" not in finding.evidence
