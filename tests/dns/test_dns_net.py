"""The resolver against a real name server."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest
import uvloop

from gateway.adapters.dns_net import NetResolver
from gateway.mail.finding import Why
from gateway.ports.dns import Status
from gateway.ports.failure import PortFailure
from tests.real.dns_server import NsdServer

PART = "k" * 200
ZONE = f"""
www 77 A 192.0.2.1
www A 192.0.2.2
www AAAA 2001:db8::1
alias CNAME www
outside CNAME elsewhere.invalid.
key._domainkey TXT "v=DKIM1; p=" "{PART}" "{PART}"
octets TXT "caf\\195\\169"
@ MX 10 Mail.Example.test.
null MX 0 .
a.b.c A 192.0.2.9
""" + "\n".join(f'big TXT "{index:03d}{PART}"' for index in range(30))
REVERSE = "1 PTR WWW.example.test.\n"


@pytest.fixture(scope="module")
def server() -> Iterator[NsdServer]:
    with NsdServer({"example.test": ZONE, "2.0.192.in-addr.arpa": REVERSE}) as running:
        yield running


@pytest.fixture
async def resolver(server):
    made = NetResolver([server.address], timeout=2.0, tries=2)
    yield made
    await made.close()


async def test_a_with_lowest_ttl(resolver):
    answer = await resolver.lookup("WWW.example.test.", "A")
    assert answer.status is Status.OK
    assert set(answer.records) == {"192.0.2.1", "192.0.2.2"}
    assert 0 < answer.ttl <= 300


async def test_aaaa(resolver):
    assert (await resolver.lookup("www.example.test", "AAAA")).records == ("2001:db8::1",)


async def test_alias_is_followed_and_can_be_asked_for(resolver):
    assert len((await resolver.lookup("alias.example.test", "A")).records) == 2
    assert (await resolver.lookup("alias.example.test", "CNAME")).records == ("www.example.test",)


async def test_strings_of_txt_are_joined(resolver):
    assert (await resolver.lookup("key._domainkey.example.test", "TXT")).records == ("v=DKIM1; p=" + PART + PART,)


async def test_octets_of_txt_come_as_latin1(resolver):
    (record,) = (await resolver.lookup("octets.example.test", "TXT")).records
    assert record.encode("latin-1") == "café".encode()


async def test_mx_and_null_mx(resolver):
    assert (await resolver.lookup("example.test", "MX")).records == ("10 mail.example.test",)
    assert (await resolver.lookup("null.example.test", "MX")).records == ("0 .",)


async def test_ptr_in_lower_case(resolver):
    assert (await resolver.lookup("1.2.0.192.in-addr.arpa", "PTR")).records == ("www.example.test",)


async def test_truncated_answer_is_fetched_by_tcp(resolver):
    assert len((await resolver.lookup("big.example.test", "TXT")).records) == 30


@pytest.mark.parametrize(
    ("name", "rtype", "status"),
    [
        ("nobody.example.test", "A", Status.NXDOMAIN),
        ("www.example.test", "MX", Status.NODATA),
        ("b.c.example.test", "A", Status.NODATA),  # empty non-terminal
        ("", "A", Status.NXDOMAIN),
        ("a..example.test", "A", Status.NXDOMAIN),
        ("x" * 64 + ".example.test", "A", Status.NXDOMAIN),
        ("bücher.example.test", "A", Status.NXDOMAIN),
        ("a\\.b.example.test", "A", Status.NXDOMAIN),
        ("a b%{x}@\x01.example.test", "A", Status.NXDOMAIN),
    ],
)
async def test_there_is_none_is_an_answer(resolver, name, rtype, status):
    answer = await resolver.lookup(name, rtype)
    assert (answer.status, answer.records) == (status, ())


async def test_server_that_refuses_the_zone_is_a_failure(resolver):
    with pytest.raises(PortFailure) as caught:
        await resolver.lookup("www.other.test", "A")
    assert caught.value.cause.port == "dns"
    assert caught.value.cause.why in (Why.REFUSED, Why.PROTOCOL)


async def test_dead_port_fails_fast():
    resolver = NetResolver([("127.0.0.1", _dead_port())], timeout=5.0, tries=2)
    async with asyncio.timeout(8):
        with pytest.raises(PortFailure) as caught:
            await resolver.lookup("www.example.test", "A")
    assert caught.value.cause.why in (Why.REFUSED, Why.TIMEOUT)
    await resolver.close()


async def test_silent_server_is_a_timeout():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        resolver = NetResolver([("127.0.0.1", silent.getsockname()[1])], timeout=0.2, tries=2)
        with pytest.raises(PortFailure) as caught:
            await resolver.lookup("www.example.test", "A")
        assert caught.value.cause.why is Why.TIMEOUT
        await resolver.close()


async def test_close_ends_open_questions():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        resolver = NetResolver([("127.0.0.1", silent.getsockname()[1])], timeout=30.0, tries=1)
        job = asyncio.create_task(resolver.lookup("www.example.test", "A"))
        await asyncio.sleep(0.1)
        await resolver.close()
        async with asyncio.timeout(10):
            with pytest.raises(PortFailure):
                await job


async def test_second_server_answers_where_the_first_is_dead(server):
    resolver = NetResolver([("127.0.0.1", _dead_port()), server.address], timeout=1.0, tries=2)
    assert (await resolver.lookup("www.example.test", "AAAA")).status is Status.OK
    await resolver.close()


async def test_closed_resolver_is_a_failure(server):
    resolver = NetResolver([server.address])
    await resolver.lookup("www.example.test", "A")
    await resolver.close()
    with pytest.raises(PortFailure):
        await resolver.lookup("www.example.test", "A")


async def test_cancelled_lookup_leaves_the_resolver_sound(resolver):
    job = asyncio.create_task(resolver.lookup("www.example.test", "A"))
    await asyncio.sleep(0)
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    assert (await resolver.lookup("www.example.test", "A")).status is Status.OK


def test_uvloop_serves_as_well(server):
    async def ask():
        resolver = NetResolver([server.address])
        answers = await asyncio.gather(*(resolver.lookup("www.example.test", "A") for _ in range(50)))
        await resolver.close()
        return answers

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert all(answer.status is Status.OK for answer in runner.run(ask()))


def _dead_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
