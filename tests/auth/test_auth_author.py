"""Whose message is it: every spelling of From that has fooled a gateway."""

import pytest

from gateway.auth.author import author
from gateway.mail.message import Message

CASES = [
    (b"ann@example.com", ("example.com",)),
    (b"Ann <ann@my-bank.com>", ("my-bank.com",)),
    (b'"a@good.org"@example.com', ("example.com",)),
    (b'"ceo@good.org" <eve@evil.test>', ("evil.test",)),
    (b"ceo@good.org <eve@evil.test>", ("evil.test",)),
    (b"(a@good.org) eve@evil.test (b@good.org)", ("evil.test",)),
    (b"(nested (a@good.org) \\) deep) eve@evil.test", ("evil.test",)),
    (b"<a@good.org> <eve@evil.test>", ("good.org", "evil.test")),
    (b"a@good.org, eve@evil.test", ("good.org", "evil.test")),
    (b"a@good.org, b@GOOD.org", ("good.org",)),
    (b"Doe, John <j@example.com>", ("example.com",)),
    (b"team: a@good.org, Bob <b@good.org>;", ("good.org",)),
    (b"undisclosed:;", ()),
    (b"", ()),
    (b"Ann", ()),
    (b"<>", ()),
    (b"<@a.test,@b.test:ann@example.com>", ("example.com",)),
    (b"ann @ example . com", ("example.com",)),
    (b"ann@example.com.", ("example.com",)),
    ("ann@bücher.example".encode(), ("xn--bcher-kva.example",)),
    (b"=?utf-8?Q?a=40good.org?= <eve@evil.test>", ("evil.test",)),
    (b'"a\\"b <x@good.org>" <eve@evil.test>', ("evil.test",)),
    (b"\r\n Ann\r\n <ann@example.com>", ("example.com",)),
    (b"Ann <ann@example.com", ("example.com",)),
    (b'"unclosed <eve@evil.test>', ()),
]


@pytest.mark.parametrize(("value", "domains"), CASES)
def test_from(value, domains):
    found = author(Message.parse(b"From: " + value + b"\r\n\r\n"))
    assert found.domains == domains


@pytest.mark.parametrize("value", [b"a@good.org@evil.test", b"<ann@[192.0.2.1]>", b"@evil.test", b"a@b_.-test", b"a@\xff.test"])
def test_unreadable(value):
    found = author(Message.parse(b"From: " + value + b"\r\n\r\n"))
    assert found.unreadable
    assert found.domain == ""


def test_several_fields():
    found = author(Message.parse(b"From: a@good.org\r\nFrom : eve@evil.test\r\n\r\n"))
    assert (found.domains, found.domain) == (("good.org", "evil.test"), "")
