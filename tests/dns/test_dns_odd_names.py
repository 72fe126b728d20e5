"""Names that c-ares refuses to ask for: SPF macros put any octet into a label, and the answer decides."""

from __future__ import annotations

import asyncio

import pytest

from gateway.adapters.dns_net import NetResolver
from gateway.mail.finding import Why
from gateway.ports.dns import Status
from gateway.ports.failure import PortFailure
from tests.suites.dns_responder import dns_responder

ZONE = {
    "foo:bar/baz.example.com": [{"A": "192.0.2.1"}, {"MX": [10, "foo:bar.example.com"]}, {"TXT": "x" * 600}],
    "a b.example.com": [{"A": "192.0.2.2"}],
    "silent (one).example.com": ["TIMEOUT"],
    "broken (one).example.com": ["SERVFAIL"],
}


async def test_any_octet_may_stand_in_a_label() -> None:
    with dns_responder(ZONE) as responder:
        resolver = NetResolver([responder.address], timeout=2.0, tries=1)
        answer = await resolver.lookup("Foo:Bar/baz.example.com.", "A")
        assert (answer.status, answer.records, answer.ttl) == (Status.OK, ("192.0.2.1",), 60)
        assert (await resolver.lookup("foo:bar/baz.example.com", "MX")).records == ("10 foo:bar.example.com",)
        assert (await resolver.lookup("foo:bar/baz.example.com", "TXT")).records == ("x" * 600,)
        assert (await resolver.lookup("a b.example.com", "A")).records == ("192.0.2.2",)
        assert (await resolver.lookup("a b.example.com", "AAAA")).status is Status.NODATA
        assert (await resolver.lookup("a c.example.com", "A")).status is Status.NXDOMAIN
        await resolver.close()


@pytest.mark.parametrize(("name", "why"), [("silent", Why.TIMEOUT), ("broken", Why.PROTOCOL)])
async def test_trouble_with_such_a_name_is_the_same_failure(name: str, why: Why) -> None:
    with dns_responder(ZONE) as responder:
        resolver = NetResolver([responder.address], timeout=0.2, tries=1)
        with pytest.raises(PortFailure) as caught:
            await asyncio.wait_for(resolver.lookup(f"{name} (one).example.com", "TXT"), 10)
        assert caught.value.cause.why is why
        await resolver.close()
        with pytest.raises(PortFailure):
            await resolver.lookup("a b.example.com", "A")
