"""Names that c-ares refuses to ask for: SPF macros put any octet into a label, and the answer decides."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
from debian import need

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


ALONE = """
import asyncio
import subprocess
import sys
from gateway.adapters.dns_net import NetResolver
from gateway.ports.failure import PortFailure

async def main():
    try:
        await NetResolver(None).lookup("a b.example.com", "A")
    except PortFailure as failure:
        print(failure.cause.port, failure.cause.why)

asyncio.run(main())
"""


def test_a_system_that_names_no_resolver_is_a_failure_and_no_crash() -> None:
    if subprocess.run([need("unshare"), "--mount", "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine allows no mount namespace of our own: a system without resolvers was not tried")
    hidden = 'mount --bind /dev/null /etc/resolv.conf && exec "$0" -c "$1"'
    said = subprocess.run(
        [need("unshare"), "--mount", "sh", "-c", hidden, sys.executable, ALONE], capture_output=True, text=True, check=False
    )
    assert said.stdout == "dns refused\n", said.stderr
