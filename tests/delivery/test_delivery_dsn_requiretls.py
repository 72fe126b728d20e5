"""The parameters that travel on: DSN (RFC 3461) where the mailstore offers it, REQUIRETLS (RFC 8689) or a refusal."""

from __future__ import annotations

import ssl
from dataclasses import replace
from pathlib import Path

import pytest
import trustme
from parts import ANN, BOB, outgoing, relay, transaction
from scripted import scripted

from gateway.delivery.maildir import MaildirMailstore
from gateway.delivery.requiretls import keeps
from gateway.delivery.routes import Route, Router
from gateway.delivery.url import MailstoreUrl
from gateway.mail.dsn import MailDsn, RcptDsn
from gateway.mail.transaction import Transaction
from gateway.ports.mailstore import Handover

BASE = "250-store.test\n250-PIPELINING\n250-8BITMIME"


def _with_dsn() -> Transaction:
    tx = transaction(ANN)
    assert tx.envelope
    told = replace(tx.envelope, recipients=(), dsn=MailDsn("HDRS", "QQ+2B1"))
    told = told.with_recipient(ANN, RcptDsn(("SUCCESS", "FAILURE"), "rfc822;ann@old.example"))
    return replace(tx, envelope=told.with_recipient(BOB))


async def test_dsn_parameters_reach_a_mailstore_that_offers_dsn() -> None:
    async with scripted({"EHLO": BASE + "\n250 DSN"}) as store:
        mailstore = relay(store.port, "?tls=off")
        await mailstore.deliver(_with_dsn(), outgoing(), 10)
        await mailstore.close()
    heard = [command for command in store.commands if command[:4] in ("MAIL", "RCPT")]
    assert heard == [
        "MAIL FROM:<from@example.org> RET=HDRS ENVID=QQ+2B1",
        f"RCPT TO:<{ANN}> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;ann@old.example",
        f"RCPT TO:<{BOB}>",
    ]


async def test_dsn_parameters_stay_here_where_it_is_not_offered() -> None:
    async with scripted({"EHLO": BASE + "\n250 HELP"}) as store:
        mailstore = relay(store.port, "?tls=off")
        result = await mailstore.deliver(_with_dsn(), outgoing(), 10)
        await mailstore.close()
    assert result.results[ANN].handover is Handover.DELIVERED
    assert not any("NOTIFY" in command or "RET=" in command for command in store.commands)


def _asking() -> Transaction:
    tx = transaction(ANN)
    assert tx.envelope
    return replace(tx, envelope=replace(tx.envelope, requiretls=True))


@pytest.fixture
def authority(tmp_path: Path) -> tuple[trustme.CA, Path]:
    ca = trustme.CA()
    path = tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(path)
    return ca, path


@pytest.mark.parametrize(
    ("options", "word", "kept"),
    [
        ("?tls=verify&name=store.test&ca={ca}", "REQUIRETLS", True),
        ("?tls=verify-ca&ca={ca}", "REQUIRETLS", True),
        ("?tls=verify&name=store.test&ca={ca}", "HELP", False),
        ("?tls=required", "REQUIRETLS", False),
        ("", "REQUIRETLS", False),
    ],
)
async def test_only_verified_tls_to_a_mailstore_that_offers_it_keeps_requiretls(
    authority: tuple[trustme.CA, Path], options: str, word: str, kept: bool
) -> None:
    ca, path = authority
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("store.test").configure_cert(context)
    async with scripted({"EHLO": f"{BASE}\n250-STARTTLS\n250 {word}"}, tls=context) as store:
        mailstore = relay(store.port, options.format(ca=path))
        router = Router([Route(("example.org",), (mailstore,))])
        assert not router.keeps_requiretls  # nothing is known yet
        await mailstore.deliver(transaction(ANN), outgoing(), 10)
        assert router.keeps_requiretls is kept
        result = (await mailstore.deliver(_asking(), outgoing(), 10)).results[ANN]
        await mailstore.close()
    mails = [command for command in store.commands if command.startswith("MAIL")]
    if kept:
        assert result.handover is Handover.DELIVERED
        assert mails[-1].endswith(" REQUIRETLS")
    else:
        assert (result.handover, result.code, result.enhanced) == (Handover.REFUSED, 550, "5.7.30")
        assert len(mails) == 1


async def test_a_maildir_is_the_end_of_the_way(tmp_path: Path) -> None:
    mailstore = MaildirMailstore(MailstoreUrl.parse(f"maildir:{tmp_path}"), "mx.test")
    assert keeps(mailstore)
    result = await mailstore.deliver(_asking(), outgoing(), 10)
    assert result.results[ANN].handover is Handover.DELIVERED
