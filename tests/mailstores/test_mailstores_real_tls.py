"""TLS and client certificates with real mailstores: Postfix and Exim that want both, Dovecot's STARTTLS in LMTP.

A tap sees what a listener on the way would: after a failed handshake or verification nothing of the message.
"""

from __future__ import annotations

import pytest

from gateway.mail.finding import Why
from gateway.ports.failure import PortFailure
from gateway.ports.mailstore import Handover
from tests.delivery.parts import outgoing, relay, transaction
from tests.mailstores.conftest import Pem, Real
from tests.mailstores.tap import Tap, tapped
from tests.mailstores.test_mailstores_real import HEADER, PREPENDED, USER, delivered
from tests.real.dovecot import Dovecot
from tests.real.postfix import Postfix

SECRET = b"secret words"


async def sent(real: Real, options: str, number: bytes) -> Tap:
    """One message through a tap. Raises PortFailure; the tap's octets are then in ``lost``."""
    async with tapped("127.0.0.1", real.port) as tap:
        lost[number] = tap
        store = relay(tap.port, options, scheme="lmtp" if isinstance(real, Dovecot) else "smtp")
        try:
            result = await store.deliver(transaction(USER), outgoing(HEADER % number + SECRET, PREPENDED), 30)
        finally:
            await store.close()
    assert result.results[USER].handover is Handover.DELIVERED
    return tap


lost: dict[bytes, Tap] = {}


def with_certificate(pem: Pem, name: str = "store.test", ca: str = "ca") -> str:
    return f"?tls=verify&ca={pem[ca]}&name={name}&cert={pem['client-cert']}&key={pem['client-key']}&xclient=off"


@pytest.fixture(params=["strict_postfix", "strict_exim"])
def strict(request: pytest.FixtureRequest) -> Real:
    """Both ask for a client certificate; without TLS Postfix says 530, and Exim's client certificate ACL is its own."""
    store: Real = request.getfixturevalue(request.param)
    return store


async def test_verified_with_our_certificate(strict: Real, pem: Pem) -> None:
    tap = await sent(strict, with_certificate(pem), b"mutual")
    assert b"STARTTLS\r\n\x16\x03" in tap.said, "the handshake follows the command"
    assert b"MAIL" not in tap.said
    assert SECRET not in tap.said
    (got,) = await delivered(strict, "user", b"mutual")
    assert got.replace(b"\n", b"\r\n").endswith(SECRET + b"\r\n")
    if isinstance(strict, Postfix):
        assert "Trusted TLS connection established" in strict.log_text()
    else:
        assert 'DN="' in strict.log_text()


@pytest.mark.parametrize(
    ("name", "ca", "said"),
    [
        ("other.test", "ca", "not valid for 'other.test'"),
        ("store.test", "strange", "(self-signed certificate in|unable to get local issuer)"),
    ],
    ids=["name", "authority"],
)
async def test_wrong_name_or_authority_sends_nothing(strict: Real, pem: Pem, name: str, ca: str, said: str) -> None:
    number = f"wrong-{name}-{ca}".encode()
    with pytest.raises(PortFailure, match=said) as caught:
        await sent(strict, with_certificate(pem, name, ca), number)
    assert caught.value.cause.why is Why.PROTOCOL
    assert lost[number].said.startswith(b"EHLO mx.test\r\nSTARTTLS\r\n\x16")
    assert b"MAIL" not in lost[number].said
    assert SECRET not in lost[number].said


async def test_without_our_certificate_nothing_is_taken(strict: Real, pem: Pem) -> None:
    with pytest.raises(PortFailure):
        await sent(strict, f"?tls=verify&ca={pem['ca']}&name=store.test&xclient=off", b"bare")
    assert await delivered(strict, "user", b"bare", 0) == []


async def test_postfix_that_wants_tls_says_530_and_that_is_our_fault_and_no_refusal(strict_postfix: Postfix) -> None:
    with pytest.raises(PortFailure, match=r"configuration: MAIL: 530 5\.7\.0 Must issue a STARTTLS"):
        await sent(strict_postfix, "?tls=off&xclient=off", b"clear")
    assert SECRET not in lost[b"clear"].said


@pytest.mark.parametrize("tls", ["opportunistic", "required", "verify-ca", "verify"])
async def test_dovecots_lmtp_by_starttls(dovecot: Dovecot, pem: Pem, tls: str) -> None:
    files = {"verify-ca": f"&ca={pem['ca']}", "verify": f"&ca={pem['ca']}&name=store.test"}.get(tls, "")
    number = f"lmtps-{tls}".encode()
    tap = await sent(dovecot, f"?tls={tls}{files}&xclient=off", number)
    assert SECRET not in tap.said
    assert len(await delivered(dovecot, "user", number)) == 1


async def test_xclient_is_said_inside_tls(dovecot: Dovecot) -> None:
    tap = await sent(dovecot, "?tls=required&xclient=require", b"inside")
    assert b"XCLIENT ADDR=" not in tap.said
    (got,) = await delivered(dovecot, "user", b"inside")
    assert b"[192.0.2.1]" in got.partition(PREPENDED[:20])[0]


async def test_required_where_it_is_not_offered_sends_nothing(postfix: Postfix) -> None:
    """This Postfix has no certificate and offers no STARTTLS."""
    with pytest.raises(PortFailure, match="tls=required but STARTTLS: not offered"):
        await sent(postfix, "?tls=required", b"none")
    assert lost[b"none"].commands == ["EHLO mx.test"]
    assert len(lost[b"none"].said) == len(b"EHLO mx.test\r\n")
