"""Odd messages that dkimpy signed and cannot read any more; the comparison at large is in test_auth_dkim_second_opinions.py."""

import dkim
from auth_zone import NOW, rsa_key

from gateway.auth.canonical import body_digests
from gateway.auth.dkim_verify import read_signatures, verify
from gateway.mail.finding import Outcome
from gateway.mail.message import Message


def judge(octets: bytes, record: str):
    message = Message.parse(octets)
    (signature,) = read_signatures(message)
    digests = body_digests(message, {signature.want})
    return verify(message, signature, (record,), digests, now=NOW, min_rsa_bits=1024, partial_passes=False)


def test_odd_fields_that_dkimpy_dies_of():
    private, record = rsa_key()
    octets = b"From: ann@example.com\r\nTo: bob@example.org\r\nSubject: x\r\n\r\nhi\r\n"
    field = dkim.sign(octets, b"sel", b"example.com", private, canonicalize=(b"relaxed", b"relaxed"), include_headers=[b"from", b"subject"])
    odd = octets.replace(b"Subject: x", b"Subject : x").replace(b"To:", b"no field at all\r\nX-\xe9: 1\r\nTo:")
    assert judge(field + odd, record).outcome is Outcome.PASS
