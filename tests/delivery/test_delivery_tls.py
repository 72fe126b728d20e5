"""TLS to the mailstore with certificates of a test authority: what each mode takes, and what it refuses."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from parts import ANN, outgoing, relay, transaction
from scripted import ScriptedStore, scripted

from gateway.ports.failure import PortFailure
from gateway.ports.mailstore import Handover

STARTTLS = "250-store.test\n250 STARTTLS"
YESTERDAY = datetime.now(UTC) - timedelta(days=1)
NAME = "store.test"


class Authority:
    """A test CA with its certificate and those of clients as files."""

    def __init__(self, folder: Path, name: str) -> None:
        self.ca = trustme.CA()
        self.path = folder / f"{name}.pem"
        self.ca.cert_pem.write_to_path(self.path)

    def server(self, name: str = NAME, *, expired: bool = False, clients: Authority | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        made = self.ca.issue_cert(name, not_after=YESTERDAY) if expired else self.ca.issue_cert(name)
        made.configure_cert(context)
        if clients:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(clients.path)
        return context

    def client(self, folder: Path, name: str) -> str:
        """The URL's options for a certificate of this authority."""
        made = self.ca.issue_cert("gw.example.com")
        cert, key = folder / f"{name}-cert.pem", folder / f"{name}-key.pem"
        made.cert_chain_pems[0].write_to_path(cert)
        made.private_key_pem.write_to_path(key)
        return f"cert={cert}&key={key}"


@pytest.fixture
def ours(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "ours")


@pytest.fixture
def strange(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "strange")


async def delivered(store: ScriptedStore, options: str) -> bool:
    mailstore = relay(store.port, options)
    try:
        result = await mailstore.deliver(transaction(ANN), outgoing(), 10)
    except PortFailure:
        # whatever went wrong, nothing of the message was said
        assert not any(command.startswith("MAIL") for command in store.commands)
        return False
    finally:
        await mailstore.close()
    return result.results[ANN].handover is Handover.DELIVERED


@pytest.mark.parametrize("tls", ["verify", "verify-ca"])
async def test_right_authority(ours: Authority, tls: str) -> None:
    name = "&name=store.test" if tls == "verify" else ""
    async with scripted({"EHLO": STARTTLS}, tls=ours.server()) as store:
        assert await delivered(store, f"?tls={tls}&ca={ours.path}{name}")
        assert store.commands[:3] == ["EHLO mx.test", "STARTTLS", "EHLO mx.test"]


async def test_wrong_name_is_refused_but_where_the_name_is_not_asked_for(ours: Authority) -> None:
    async with scripted({"EHLO": STARTTLS}, tls=ours.server("other.test")) as store:
        assert not await delivered(store, f"?tls=verify&ca={ours.path}&name={NAME}")
        assert not await delivered(store, f"?tls=verify&ca={ours.path}")  # the host is 127.0.0.1
        assert await delivered(store, f"?tls=verify-ca&ca={ours.path}")


@pytest.mark.parametrize("tls", ["verify", "verify-ca"])
async def test_expired(ours: Authority, tls: str) -> None:
    name = f"&name={NAME}" if tls == "verify" else ""
    async with scripted({"EHLO": STARTTLS}, tls=ours.server(expired=True)) as store:
        assert not await delivered(store, f"?tls={tls}&ca={ours.path}{name}")


@pytest.mark.parametrize("tls", ["verify", "verify-ca"])
async def test_unknown_authority(ours: Authority, strange: Authority, tls: str) -> None:
    name = f"&name={NAME}" if tls == "verify" else ""
    async with scripted({"EHLO": STARTTLS}, tls=strange.server()) as store:
        assert not await delivered(store, f"?tls={tls}&ca={ours.path}{name}")


async def test_the_systems_authorities_where_none_is_named(ours: Authority) -> None:
    async with scripted({"EHLO": STARTTLS}, tls=ours.server()) as store:
        assert not await delivered(store, f"?tls=verify&name={NAME}")


@pytest.mark.parametrize("options", ["", "?tls=opportunistic", "?tls=required"])
async def test_without_verification_any_certificate_will_do(strange: Authority, options: str) -> None:
    async with scripted({"EHLO": STARTTLS}, tls=strange.server("other.test", expired=True)) as store:
        assert await delivered(store, options)
        assert "STARTTLS" in store.commands


@pytest.mark.parametrize("tls", ["required", "verify", "verify-ca"])
@pytest.mark.parametrize("script", [{}, {"EHLO": STARTTLS, "STARTTLS": "454 4.7.0 not now"}], ids=["absent", "454"])
async def test_no_mail_in_clear_where_tls_is_a_must(ours: Authority, tls: str, script: dict[str, str]) -> None:
    files = f"&ca={ours.path}" if tls != "required" else ""
    async with scripted(dict(script)) as store:
        assert not await delivered(store, f"?tls={tls}{files}")


@pytest.mark.parametrize("options", ["", "?tls=off"])
async def test_in_clear_where_tls_is_not_offered_or_not_wanted(ours: Authority, options: str) -> None:
    async with scripted({"EHLO": STARTTLS} if options else {}, tls=ours.server()) as store:
        assert await delivered(store, options)
        assert "STARTTLS" not in store.commands


async def test_client_certificate(ours: Authority, strange: Authority, tmp_path: Path) -> None:
    async with scripted({"EHLO": STARTTLS}, tls=ours.server(clients=ours)) as store:
        verified = f"?tls=verify&ca={ours.path}&name={NAME}"
        assert await delivered(store, f"{verified}&{ours.client(tmp_path, 'good')}")
        store.sessions.clear()
        assert not await delivered(store, verified)
        assert not await delivered(store, f"{verified}&{strange.client(tmp_path, 'bad')}")
        assert await delivered(store, f"?tls=required&{ours.client(tmp_path, 'again')}")


async def test_opportunistic_falls_back_when_the_client_certificate_is_refused_after_the_handshake(
    ours: Authority,
) -> None:
    """In TLS 1.3 the client sees the refusal only by the alert behind a handshake that was well for it."""
    async with scripted({"EHLO": STARTTLS}, tls=ours.server(clients=ours)) as store:
        assert await delivered(store, "")


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ("?cert=/nowhere.pem&key=/nowhere.pem", "PEM files that belong together"),
        ("?tls=verify-ca&ca=/nowhere.pem", "PEM certificates"),
    ],
)
def test_files_that_cannot_be_read_are_told_at_start(options: str, remedy: str) -> None:
    with pytest.raises(ValueError, match=remedy):
        relay(25, options)


def test_key_of_another_certificate(ours: Authority, tmp_path: Path) -> None:
    ours.client(tmp_path, "one")
    ours.client(tmp_path, "two")
    with pytest.raises(ValueError, match="belong together"):
        relay(25, f"?cert={tmp_path}/one-cert.pem&key={tmp_path}/two-key.pem")
