"""Who may lift what DMARC says: a listed sealer, newest of a chain that holds, who saw the author domain authenticated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import dkim
import pytest
from auth_zone import DictZone, PortsOf, rsa_key, transaction

from gateway.checks.arc import arc
from gateway.mail.phase import Phase
from gateway.mail.verdict import Action
from gateway.pipeline import Pipeline
from gateway.policy.load import load
from gateway.policy.settings import ArcSettings

DEFAULT_POLICY = Path(__file__).parents[2] / "policies" / "default.yaml"
MAIL = b"From: ann@bank.test\r\nTo: list@lists.test\r\nSubject: hi\r\n\r\nhello\r\n"


def sealed(octets: bytes, domain: bytes, results: bytes) -> bytes:
    octets = b"Authentication-Results: %s; %s\r\n" % (domain, results) + octets
    return b"".join(dkim.arc_sign(octets, b"sel", domain, rsa_key()[0], domain, include_headers=[b"from", b"to"])) + octets


def zone() -> DictZone:
    keys = {f"sel._domainkey.{name}.test": rsa_key()[1] for name in ("list", "relay", "evil")}
    return DictZone({**keys, "_dmarc.bank.test": "v=DMARC1; p=reject"})


async def trusted(octets: bytes, *sealers: str) -> bool:
    found = await arc(transaction(octets), PortsOf(zone()), ArcSettings(trusted_sealers=sealers))
    assert found is not None
    assert found.outcome.value == "pass"
    return found.evidence["trusted"] is True


SAW = [
    (b"arc=none; dmarc=pass (p=reject) header.from=bank.test", True),
    (b"arc=none; dmarc=pass", True),
    (b"arc=none; dmarc=fail header.from=bank.test; dkim=pass header.d=bank.test", False),
    (b"arc=none; dmarc=none header.from=bank.test", False),
    (b"arc=none; dmarc=pass header.from=other.test", False),
    (b"arc=none; dkim=pass header.d=bank.test", True),
    (b"arc=none; dkim=pass header.i=@mail.bank.test", True),
    (b"arc=none; dkim=fail header.d=bank.test", False),
    (b"arc=none; dkim=pass header.d=evil.test; spf=pass smtp.mailfrom=x@evil.test", False),
    (b"arc=none; spf=pass smtp.mailfrom=ann@bank.test", True),
    (b"arc=none; dkim=pass header.d=notbank.test", False),
    (b'arc=none; spf=fail (" dmarc=pass ") smtp.mailfrom="x; dmarc=pass"', False),
    (b"arc=none", False),
]


@pytest.mark.parametrize(("results", "expected"), SAW)
async def test_what_the_sealer_saw(results: bytes, expected: bool) -> None:
    assert await trusted(sealed(MAIL, b"list.test", results), "list.test") is expected
    assert await trusted(sealed(MAIL, b"list.test", results)) is False


async def test_a_trusted_relay_behind_a_list() -> None:
    one = sealed(MAIL, b"list.test", b"arc=none; dmarc=pass header.from=bank.test")
    two = sealed(one, b"relay.test", b"arc=pass; dmarc=fail header.from=bank.test")
    assert await trusted(two, "list.test", "relay.test")
    assert not await trusted(two, "relay.test")  # it vouches for the chain, and the chain's end is a stranger
    assert not await trusted(two, "list.test")  # the newest is a stranger


async def test_a_stranger_under_a_trusted_sealer() -> None:
    one = sealed(MAIL, b"evil.test", b"arc=none; dmarc=pass header.from=bank.test")
    two = sealed(one, b"relay.test", b"arc=pass; dmarc=fail header.from=bank.test")
    assert not await trusted(two, "relay.test")


@pytest.mark.parametrize(("sealers", "action"), [((), Action.REJECT), (("list.test",), Action.ACCEPT), (("relay.test",), Action.REJECT)])
async def test_only_listed_sealers_override_the_default_policy(sealers: tuple[str, ...], action: Action) -> None:
    octets = sealed(MAIL, b"list.test", b"arc=none; dmarc=pass header.from=bank.test")
    profile = load(DEFAULT_POLICY).default
    checks = profile.checks.model_copy(update={"arc": ArcSettings(trusted_sealers=sealers)})
    pipeline = Pipeline(PortsOf(zone()))  # type: ignore[arg-type]
    tx = transaction(octets, reverse_path="bounce@list.test")
    judged = await pipeline.judge(Phase.CONTENT, tx, replace(profile, checks=checks))
    assert judged.tx.findings["dmarc"].outcome.value == "fail"
    assert judged.verdict.effective is action

