"""Mailstore URLs, and results folded into one reply."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parts import ANN, BOB, CID

from gateway.delivery.fold import fold
from gateway.delivery.url import MailstoreUrl
from gateway.ports.mailstore import DeliveryResult, Handover, RecipientResult


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("smtp://10.1.0.5:25", "smtp://10.1.0.5:25"),
        ("smtp://store.test", "smtp://store.test:25"),
        ("lmtp://[2001:db8::1]", "lmtp://[2001:db8::1]:24"),
        ("lmtp+unix:/run/lmtp", "lmtp+unix:/run/lmtp"),
        ("maildir:/var/mail?recipients=existing", "maildir:/var/mail"),
        ("smtp://h?sessions=4&rate=0.5&weight=2&tls=required&cert=/c.pem&key=/k.pem", "smtp://h:25"),
        ("smtp://h:25?tls=verify&ca=/ca.pem&name=s.test&xclient=require&verify=no", "smtp://h:25"),
    ],
)
def test_good_urls(text: str, shown: str) -> None:
    assert str(MailstoreUrl.parse(text)) == shown


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("10.1.0.5:25", "smtp://host:port"),
        ("http://x", "smtp://host:port"),
        ("smtp://", "no host"),
        ("smtp://h:99999", "1 to 65535"),
        ("smtp://h:0", "1 to 65535"),
        ("smtp://h/x", "lmtp"),
        ("smtp://u:secret@h", "no user and password"),
        ("maildir:x", "absolute path"),
        ("smtp://h?tls=maybe", "write one of off, opportunistic"),
        ("smtp://h?tsl=off", "no option 'tsl'"),
        ("smtp://h?tls=off&tls=off", "twice"),
        ("smtp://h?ca=/x", "tls=verify"),
        ("smtp://[::1", "not a URL"),
        ("smtp://h?tls=verify-ca", "needs ca="),
        ("smtp://h?cert=/c.pem", "belong together"),
        ("smtp://h?tls=off&cert=/c.pem&key=/k.pem", "tls=off"),
        ("smtp://h?sessions=0", "from 1 to 10000"),
        ("smtp://h?sessions=1.5", "from 1 to 10000"),
        ("smtp://h?rate=-1", "above 0"),
        ("smtp://h?rate=nan", "above 0"),
        ("smtp://h?weight=0", "above 0"),
        ("maildir:/m?sessions=2", "no option 'sessions'"),
    ],
)
def test_bad_urls_say_what_to_write(text: str, remedy: str) -> None:
    with pytest.raises(ValueError, match=r".+") as caught:
        MailstoreUrl.parse(text)
    assert remedy in str(caught.value)
    assert "secret" not in str(caught.value)


OK = RecipientResult(Handover.DELIVERED, 250, "2.0.0", "ok")
NO = RecipientResult(Handover.REFUSED, 552, "5.2.3", "too \u00e4 big\r\n250 ok")
LATER = RecipientResult(Handover.DEFERRED, 452, "4.2.2", "full")
SILENT = RecipientResult(Handover.DEFERRED)
BEFORE = RecipientResult(Handover.BEFORE)
BUSY = RecipientResult(Handover.BUSY)
LOST = RecipientResult(Handover.MAYBE)


@pytest.mark.parametrize(
    ("results", "said"),
    [
        ((OK, OK), "250 2.0.0 Accepted [T]"),
        ((NO, NO), "552 5.2.3 too ? big?250 ok [T]"),
        ((OK, NO), "552 5.2.3 Delivered to some recipients, refused for 1 of 2: too ? big?250 ok [T]"),
        ((OK, LATER, NO), "452 4.2.2 full [T]"),
        ((NO, SILENT), "451 4.4.1 The mailstore does not answer, please try again later [T]"),
        ((OK, BEFORE), "250 2.0.0 Accepted [T]"),
        ((BEFORE, NO), "552 5.2.3 Delivered to some recipients, refused for 1 of 2: too ? big?250 ok [T]"),
        ((OK, BUSY, NO), "451 4.3.0 This message is on its way to the mailstore already, please try again later [T]"),
        ((OK, LOST, NO), "451 4.4.2 The mailstore's answer was lost, please try again later [T]"),
        ((), "451 4.4.1 The mailstore does not answer, please try again later [T]"),
        ((RecipientResult(Handover.DEFERRED, 421, "4.3.2", "bye"),), "451 4.3.2 bye [T]"),
        ((RecipientResult(Handover.REFUSED, 554, "4.0.0", ""),), "554 5.0.0 The mailstore refused the message [T]"),
    ],
)
def test_one_reply_for_all(results: tuple[RecipientResult, ...], said: str) -> None:
    assert str(fold(DeliveryResult("m", dict(zip((ANN, BOB, CID), results, strict=False))), "T")) == said


_any = st.builds(
    RecipientResult, st.sampled_from(Handover), st.integers(0, 999), st.text(max_size=9), st.text(max_size=600)
)


@given(st.lists(_any, max_size=3))
def test_whatever_a_mailstore_says_250_means_all_have_it(results: list[RecipientResult]) -> None:
    reply = fold(DeliveryResult("m", dict(zip((ANN, BOB, CID), results, strict=False))), "T")
    everybody = bool(results) and all(r.handover.held for r in results)
    assert (reply.code == 250) == everybody
    if any(r.handover in (Handover.MAYBE, Handover.DEFERRED, Handover.BUSY) for r in results):
        assert 400 <= reply.code < 500
