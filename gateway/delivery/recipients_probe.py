"""Does a mailstore tell recipients apart at all? It is asked for one that cannot exist.

A mailstore that takes a random local part (a catch-all, or Exchange's front end, which refuses after the content only)
makes verification worthless: mail for nobody is accepted, and its refusal comes late or as a DSN to a stranger.

Known gaps: asks at one domain of each route; a catch-all of another domain is not seen.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from gateway.delivery.routes import Route
from gateway.mail.address import Mailbox
from gateway.mail.finding import Why
from gateway.ports.failure import PortFailure
from gateway.ports.mailstore import Known, Mailstore

PROBE_SECONDS: Final = 15.0


class Recipients(StrEnum):
    """How well the recipients of a mailstore can be verified."""

    VERIFIED = "verified"  # the random recipient was refused as unknown
    ACCEPTS_ALL = "accepts-all"
    UNVERIFIABLE = "unverifiable"  # it is not asked (verify=no, Maildir), or refuses without saying why
    UNREACHABLE = "unreachable"  # nobody answered, or temporarily not
    LISTED = "listed"  # a list of our own or `accept` stands in its place


MEANING: Final = {
    Recipients.VERIFIED: "refuses unknown recipients",
    Recipients.ACCEPTS_ALL: "accepts every address: recipients cannot be verified",
    Recipients.UNVERIFIABLE: "does not say whether a recipient exists",
    Recipients.UNREACHABLE: "does not answer",
    Recipients.LISTED: "is not asked: the route's `recipients` setting stands in its place",
}


@dataclass(frozen=True, slots=True)
class Probe:
    """What one mailstore of a route said: the address that was asked for and the reply's text."""

    route: str
    mailstore: str
    result: Recipients
    address: str = ""
    detail: str = ""


def random_mailbox(domains: Sequence[str]) -> Mailbox:
    """A mailbox that nobody has, at the first domain that is no wildcard (else at a name below the first)."""
    domain = next((name for name in domains if not name.startswith("*.")), "")
    return Mailbox(f"mxgw-probe-{secrets.token_hex(8)}", domain or f"probe.{domains[0].removeprefix('*.')}")


async def probe_route(route: Route) -> tuple[Probe, ...]:
    """Ask each mailstore of the route, at the same time. Never raises PortFailure."""
    if route.recipients is not None:
        return tuple(Probe(route.name, store.name, Recipients.LISTED) for store in route.mailstores)
    mailbox = random_mailbox(route.domains)
    return tuple(await asyncio.gather(*(_probe(route.name, store, mailbox) for store in route.mailstores)))


async def _probe(route: str, store: Mailstore, mailbox: Mailbox) -> Probe:
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            status = await store.recipient(mailbox)
    except PortFailure as failure:
        return Probe(route, store.name, Recipients.UNREACHABLE, str(mailbox), str(failure.cause))
    except TimeoutError:
        return Probe(route, store.name, Recipients.UNREACHABLE, str(mailbox), f"{Why.TIMEOUT}, {PROBE_SECONDS:g} s")
    results = {Known.YES: Recipients.ACCEPTS_ALL, Known.NO: Recipients.VERIFIED}
    return Probe(
        route, store.name, results.get(status.known, Recipients.UNVERIFIABLE), str(mailbox), status.detail[:200]
    )
