"""``mxgw rcpt``: what a node knows of a recipient, what its mailstore says now, and how to make it forget.

``check`` shows the kept answer and asks the mailstore anew (nothing is sent and nothing is kept); it leaves with 0 for
a recipient that exists or may exist, 1 for one that does not, 75 where nobody can say. ``flush`` takes an answer out of
the store that the nodes share.

Known gaps: running processes may believe in a recipient that exists for up to a minute after a flush; that one does
not exist is forgotten at once.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.cli.output import (
    CommandError,
    config_argument,
    output_argument,
    printable,
    settings_path,
    show_columns,
    show_json,
    unusable,
)
from gateway.cli.sysexits import NEGATIVE, OK, TEMPFAIL, UNAVAILABLE, USAGE

if TYPE_CHECKING:
    from gateway.checks.recipient_cache import Remembered
    from gateway.config import Settings
    from gateway.mail.address import Mailbox
    from gateway.ports.mailstore import Mailstore


def arguments(parser: argparse.ArgumentParser) -> None:
    """check and flush."""
    kinds = parser.add_subparsers(dest="kind", metavar="WHAT", required=True)
    check = kinds.add_parser("check", help="show the kept answer and ask the mailstore anew")
    check.add_argument("address", metavar="ADDRESS")
    config_argument(check)
    output_argument(check)
    flush = kinds.add_parser("flush", help="forget what is kept of an address, of a whole domain, or of all")
    flush.add_argument("what", metavar="ADDRESS|DOMAIN", nargs="?", help="absent: all that is kept")
    config_argument(flush)
    output_argument(flush)


def run(args: argparse.Namespace) -> int:
    """Do it."""
    from gateway.config import load_settings

    settings = load_settings(settings_path(args.config), os.environ)
    return asyncio.run(_check(args, settings) if args.kind == "check" else _flush(args, settings))


@dataclass(frozen=True, slots=True)
class _Said:
    mailstore: str
    known: str  # yes, no, unverifiable, or '' where nobody can say
    detail: str


@dataclass(frozen=True, slots=True)
class _Found:
    """All that is known of one recipient; fresh: whether nodes use what is kept without asking anew."""

    mailbox: Mailbox
    route: str
    kept: Remembered | None
    now: float
    fresh: bool
    said: tuple[_Said, ...]

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        kept = self.kept
        cache = {"known": kept.known, "detail": kept.detail, "at": kept.at, "fresh": self.fresh} if kept else None
        answers = [{"mailstore": one.mailstore, "known": one.known, "detail": one.detail} for one in self.said]
        return {"address": str(self.mailbox), "route": self.route, "cache": cache, "answers": answers}

    def rows(self) -> list[tuple[str, str, str]]:
        """For people."""
        rows = [("SOURCE", "KNOWN", "DETAIL")]
        if self.kept:
            use = "in use" if self.fresh else "too old to be used while a mailstore answers"
            age = f"{self.now - self.kept.at:.0f} s old, {use}: {self.kept.detail}"
            rows.append(("kept", self.kept.known.value, age))
        else:
            rows.append(("kept", "-", "nothing is kept"))
        return [*rows, *((one.mailstore, one.known or "nobody can say", one.detail) for one in self.said)]


async def _check(args: argparse.Namespace, settings: Settings) -> int:
    from gateway.checks.recipient_cache import remembered
    from gateway.node.compose import router_for, shared_store
    from gateway.node.policy_keeper import policy_now

    mailbox = _mailbox(args.address)
    try:
        router = router_for(settings)
        store, clock = shared_store(settings)
    except (ValueError, OSError) as error:
        raise unusable(error) from error
    try:
        route = router.route_for(mailbox.domain)
        if route is None:
            raise CommandError(NEGATIVE, f"{mailbox.domain} is not served here (550 5.7.1)")
        if route.recipients is not None:
            kept, status = None, await route.recipients.recipient(mailbox)
            said = [_Said("the route's recipients", status.known.value, status.detail)]
        else:
            kept = await remembered(store, clock, mailbox)
            said = await asyncio.gather(*(_ask(mailstore, mailbox) for mailstore in route.mailstores))
    finally:
        await store.close()
        await router.close()
    now, whose = clock.now(), policy_now(settings).for_domain(mailbox.domain).checks.recipient
    found = _Found(mailbox, route.name, kept, now, bool(kept and kept.fresh(now, whose)), tuple(said))
    if args.output == "json":
        show_json("rcpt-check", found.as_json())
    else:
        show_columns([tuple(printable(cell) for cell in row) for row in found.rows()])
    answered = next((one.known for one in said if one.known), "")
    return {"": TEMPFAIL, "no": NEGATIVE}.get(answered, OK)


async def _ask(mailstore: Mailstore, mailbox: Mailbox) -> _Said:
    from gateway.ports.failure import PortFailure

    started = time.monotonic()
    try:
        status = await mailstore.recipient(mailbox)
    except PortFailure as failure:
        return _Said(mailstore.name, "", str(failure.cause))
    return _Said(mailstore.name, status.known.value, f"{status.detail} ({time.monotonic() - started:.3f} s)")


async def _flush(args: argparse.Namespace, settings: Settings) -> int:
    from gateway.checks.recipient_cache import flush_address, flush_all, flush_domain
    from gateway.mail.address import AddressError, parse_domain
    from gateway.node.compose import shared_store
    from gateway.node.policy_keeper import policy_now
    from gateway.ports.failure import PortFailure

    try:
        mailbox = _mailbox(args.what) if "@" in (args.what or "") else None
        domain = parse_domain(args.what) if args.what and mailbox is None else ""
    except AddressError as error:
        raise CommandError(USAGE, f"{args.what}: {error}") from error
    if settings.store.startswith("memory:"):
        raise CommandError(UNAVAILABLE, f"{settings.store} is in each worker's memory; restart the node to empty it")
    policy = policy_now(settings)
    try:
        store, clock = shared_store(settings)
    except (ValueError, OSError) as error:
        raise unusable(error) from error
    try:
        if mailbox is not None:
            await flush_address(store, mailbox)
        elif domain:
            await flush_domain(store, clock, domain, policy.for_domain(domain).checks.recipient)
        else:
            await flush_all(store, clock, [one.checks.recipient for one in (policy.default, *policy.profiles)])
    except PortFailure as failure:
        raise CommandError(UNAVAILABLE, str(failure)) from failure
    finally:
        await store.close()
    if args.output == "json":
        show_json("rcpt-flush", {"forgotten": str(mailbox or domain) or "all"})
    else:
        print(f"forgotten: {mailbox or domain or 'all recipients'}")
    return OK


def _mailbox(text: str) -> Mailbox:
    from gateway.mail.address import AddressError, parse_mailbox

    try:
        return parse_mailbox(text)
    except AddressError as error:
        raise CommandError(USAGE, f"{text}: {error}") from error
