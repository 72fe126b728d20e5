"""A resolver over real servers, by aiodns (c-ares): the hot path's A, AAAA, TXT, MX, PTR and CNAME.

c-ares asks over UDP with EDNS, goes to TCP when an answer is truncated, and to the next server when one fails. Its
events arrive by ``call_soon_threadsafe``, so asyncio and uvloop serve alike.

Known gaps: the servers must be recursive (an answer that ends in an alias is taken as "no data"); c-ares tells neither
the AD bit nor the SOA of a negative answer (ttl 0: the cache decides). c-ares keeps its own small cache, which pycares
cannot switch off; it counts TTLs down, so nothing outlives its TTL.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import aiodns
import pycares

from gateway.adapters.dns_names import RTYPES, host, question
from gateway.adapters.dns_odd_names import OddNameResolver, is_odd
from gateway.mail.finding import Why
from gateway.ports.dns import Answer, Status
from gateway.ports.failure import PortFailure

_ABSENT = {
    aiodns.error.ARES_ENODATA: Status.NODATA,
    aiodns.error.ARES_ENOTFOUND: Status.NXDOMAIN,
    aiodns.error.ARES_EBADNAME: Status.NXDOMAIN,
}
_WHY = {
    aiodns.error.ARES_ETIMEOUT: Why.TIMEOUT,
    aiodns.error.ARES_ECONNREFUSED: Why.REFUSED,
    aiodns.error.ARES_EREFUSED: Why.REFUSED,
    aiodns.error.ARES_ECANCELLED: Why.REFUSED,
    aiodns.error.ARES_EDESTRUCTION: Why.REFUSED,
}
_QTYPE = {rtype: aiodns.query_type_map[rtype] for rtype in RTYPES}


class NetResolver:
    """``ports.dns.Resolver`` over servers ``(address, port)``; None: those of the system (/etc/resolv.conf).

    timeout: seconds for the first try at one server; tries: rounds over all servers. No lookup takes longer than
    ``2 * timeout * tries`` seconds. May be made before there is an event loop; belongs to the first that uses it.
    """

    def __init__(self, servers: Sequence[tuple[str, int]] | None, timeout: float = 2.0, tries: int = 2) -> None:
        self._given = servers
        self._odd_names: OddNameResolver | None = None
        self._servers = None if servers is None else [_server(address, port) for address, port in servers]
        self._timeout = timeout
        self._tries = tries
        self._budget = 2 * timeout * tries
        self._channel: aiodns.DNSResolver | None = None
        self._closed = False

    async def lookup(self, name: str, rtype: str) -> Answer:
        """Ask. Raises PortFailure('dns', timeout | refused | protocol); ValueError for a type outside the port."""
        qtype = _QTYPE.get(rtype)
        if qtype is None:
            raise ValueError(f"no look-ups of type {rtype}")
        asked = question(name)
        if asked is None:
            return Answer(Status.NXDOMAIN)
        if is_odd(asked):
            return await self._odd(asked, rtype)
        try:
            async with asyncio.timeout(self._budget):
                result = await self._open().query_dns(asked, rtype)
        except aiodns.error.DNSError as error:
            return _absent_or_failure(error, asked, rtype)
        except pycares.AresError as error:
            raise PortFailure("dns", Why.PROTOCOL, f"{asked} {rtype}: {error}") from error
        except TimeoutError as error:
            raise PortFailure("dns", Why.TIMEOUT, f"{asked} {rtype}: {self._budget:g} s") from error
        records = tuple(_text(record.data, rtype) for record in result.answer if record.type == qtype)
        if not records:
            return Answer(Status.NODATA)
        return Answer(Status.OK, records, min(record.ttl for record in result.answer))

    async def close(self) -> None:
        """End the channel; open questions raise PortFailure."""
        self._closed = True
        if self._channel is not None:
            await self._channel.close()
            self._channel = None

    async def _odd(self, name: str, rtype: str) -> Answer:
        if self._closed:
            raise PortFailure("dns", Why.REFUSED, "the resolver is closed")
        if self._odd_names is None:
            try:
                self._odd_names = OddNameResolver(self._given, self._timeout, self._budget)
            except ValueError as error:
                raise PortFailure("dns", Why.REFUSED, str(error)) from error
        return await self._odd_names.lookup(name, rtype)

    def _open(self) -> aiodns.DNSResolver:
        if self._closed:
            raise PortFailure("dns", Why.REFUSED, "the resolver is closed")
        if self._channel is None:
            try:
                self._channel = aiodns.DNSResolver(self._servers, timeout=self._timeout, tries=self._tries)
            except pycares.AresError as error:
                raise PortFailure("dns", Why.PROTOCOL, f"c-ares: {error}") from error
        return self._channel


def _server(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _absent_or_failure(error: Exception, name: str, rtype: str) -> Answer:
    code = error.args[0] if error.args else 0
    status = _ABSENT.get(code)
    if status is not None:
        return Answer(status)
    detail = error.args[-1] if error.args else "no code"
    raise PortFailure("dns", _WHY.get(code, Why.PROTOCOL), f"{name} {rtype}: {detail}") from error


def _text(data: Any, rtype: str) -> str:
    match rtype:
        case "A" | "AAAA":
            return str(data.addr)
        case "TXT":
            return bytes(data.data).decode("latin-1")
        case "MX":
            return f"{data.priority} {host(str(data.exchange))}"
        case "PTR":
            return host(data.dname)
        case _:
            return host(data.cname)
