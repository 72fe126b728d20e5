"""Whatever the octets are, nothing raises: a crash would be a temperror that a stranger can cause."""

from auth_zone import DictZone, PortsOf, rsa_key, transaction
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.auth.author import author
from gateway.auth.dkim_key import parse_key
from gateway.auth.dmarc_record import choose_record
from gateway.checks.arc import arc
from gateway.checks.dkim import dkim
from gateway.checks.dmarc import dmarc
from gateway.mail.message import Message
from gateway.policy.settings import ArcSettings, DkimSettings, DmarcSettings

SOUND = b"v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.com; s=sel; h=from:to; bh=AAAA; b=AAAA; i=@example.com; l=1; x=5; cv=none"
values = st.one_of(
    st.binary(max_size=80),
    st.lists(st.sampled_from([*SOUND.split(b"; "), b"i=1", b"", b"=", b"\xff=", b"d=\xe9.com", b"l=", b"x=\xb2", b"h=\xe9", b"\r\n "]), max_size=14).map(b"; ".join),
)
names = st.sampled_from([b"DKIM-Signature", b"ARC-Seal", b"ARC-Message-Signature", b"ARC-Authentication-Results", b"From", b"From ", b""])
mails = st.builds(
    lambda fields, body: b"".join(name + b":" + value + b"\r\n" for name, value in fields) + b"\r\n" + body,
    st.lists(st.tuples(names, values), max_size=6),
    st.binary(max_size=40),
)


@settings(max_examples=400, deadline=None)
@given(mails)
async def test_checks_never_raise(octets):
    ports = PortsOf(DictZone({"sel._domainkey.example.com": rsa_key()[1]}))
    tx = transaction(octets)
    found = await dkim(tx, ports, DkimSettings())
    await arc(tx, ports, ArcSettings())
    await dmarc(tx.with_findings({"dkim": found}), ports, DmarcSettings())


@settings(max_examples=400, deadline=None)
@given(st.text(max_size=60))
def test_parsers_never_raise(text):
    author(Message.parse(b"From: " + text.encode("utf-8", "surrogatepass") + b"\r\n\r\n"))
    for record in (text, "v=DKIM1; p=" + text, "v=DKIM1; k=ed25519; p=" + text):
        parse_key(record)
    choose_record(["v=DMARC1;" + text])
