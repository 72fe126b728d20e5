"""The signed message of RFC 6376 appendix A verifies (with errata 3192 and 4926: one blank between the sentences of the
body), under the key of appendix C; and the canonicalisation example of section 3.4.5 stands in test_auth_canonical.py."""

import pytest
from auth_zone import DictZone, PortsOf, transaction

from gateway.checks.dkim import dkim
from gateway.mail.finding import Outcome
from gateway.policy.settings import DkimSettings

ZONE = {
    "brisbane._domainkey.example.com": "v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1"
    "fWn7/zYtIxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhitdY9tf6mcwGjaNBc"
    "WToIMmPSPDdQPNUYckcQ2QIDAQAB",
}
MAIL = """\
DKIM-Signature: v=1; a=rsa-sha256; s=brisbane; d=example.com;
      c=simple/simple; q=dns/txt; i=joe@football.example.com;
      h=Received : From : To : Subject : Date : Message-ID;
      bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
      b=AuUoFEfDxTDkHlLXSZEpZj79LICEps6eda7W3deTVFOk4yAUoqOB
      4nujc7YopdG5dWLSdNg6xNAZpOPr+kHxt1IrE+NahM6L/LbvaHut
      KVdkLLkpVaVVQPzeRDI009SO2Il5Lu7rDNH6mZckBdrIx0orEtZV
      4bmp/YzhwvcubU4=;
Received: from client1.football.example.com  [192.0.2.1]
      by submitserver.example.com with SUBMISSION;
      Fri, 11 Jul 2003 21:01:54 -0700 (PDT)
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game. Are you hungry yet?

Joe.
""".replace("\n", "\r\n").encode()


async def judge(octets: bytes):
    return await dkim(transaction(octets), PortsOf(DictZone(ZONE)), DkimSettings())


async def test_the_signed_message_of_the_appendix():
    found = await judge(MAIL)
    (one,) = found.signatures
    assert (one.outcome, one.reason, one.identity, one.key_bits) == (Outcome.PASS, "verified", "joe@football.example.com", 1024)
    assert found.evidence["short_key"] is True


async def test_the_unfolded_value_of_b_changes_nothing():
    folded = MAIL.replace(b"OB\r\n      4nuj", b"OB4nuj").replace(b"ut\r\n      KV", b"ut\r\n\t\t KV")
    assert (await judge(folded)).outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("before", "after"), [(b"c=simple", b"c= simple"), (b"ready?\r\n", b"ready? \r\n"), (b".com  [", b".com ["), (b"From:", b"FROM:")]
)
async def test_simple_form_forgives_nothing(before, after):
    assert (await judge(MAIL.replace(before, after, 1))).reason == "signature"
