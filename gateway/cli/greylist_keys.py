"""``mxgw greylist check``, ``pass``, ``clear`` and ``seed``: one key, or many parties, in the store itself.

A key is written as ``list`` shows it (``spf:example.org|our.example``), a party as its part before the first bar
(``spf:example.org``, ``ptr:example.org``, ``net:192.0.2.0/24``). In their place stand client, reverse-path and
recipient of an attempt: DNS is asked for what the node would find, and the key follows from that.

Known gaps: block lists are asked for real by ``check``.
"""

from __future__ import annotations

import argparse
import time
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from gateway.cli.output import CommandError, show_columns, show_json
from gateway.cli.sysexits import DATAERR, NEGATIVE, OK, TEMPFAIL, USAGE

if TYPE_CHECKING:
    from gateway.config import Settings
    from gateway.mail.transaction import Transaction
    from gateway.policy.settings import ChecksSettings, GreylistSettings
    from gateway.ports import Ports
    from gateway.ports.board import Board

_KINDS = ("spf:", "ptr:", "net:")
_PORTION = 500


async def check(args: argparse.Namespace, settings: Settings) -> int:
    """What an attempt would meet, or what is known of a key; nothing is recorded."""
    from dataclasses import replace

    from gateway.checks.greylist import judge, question_of
    from gateway.checks.greylist_key import GreylistKey
    from gateway.evidence.record import finding_json
    from gateway.mail.finding import Outcome
    from gateway.node.compose import shared_store
    from gateway.node.policy_keeper import policy_now

    store, _clock = shared_store(settings)
    try:
        if args.key:
            checks = policy_now(settings).default.checks.greylist
            kind, client = _kind(args.key), args.key.partition("|")[0]
            question = question_of(GreylistKey(kind, client, args.key), "", checks)
            answer = await store.greylist(replace(question, look=True))
            values = {"key": args.key, "state": answer.seen.value, "wait": answer.wait, "waited": answer.waited}
            waits = answer.seen.value in ("first", "early", "expired")
            code = NEGATIVE if waits else OK
        else:
            tx, ports, checks_at = await _found(args, settings)
            ports = replace(ports, store=store)
            finding = await judge(tx, ports, _greylist(checks_at), look=True)
            values = {**finding_json(finding)["evidence"], "reason": finding.reason}
            if finding.cause:
                values["cause"] = str(finding.cause)
            code = {Outcome.FAIL: NEGATIVE, Outcome.TEMPERROR: TEMPFAIL}.get(finding.outcome, OK)
    finally:
        await store.close()
    if args.output == "json":
        show_json("greylist-check", {"waits": code == NEGATIVE, **values})
    else:
        show_columns([(name, str(value)) for name, value in values.items()])
    return code


async def mark(args: argparse.Namespace, settings: Settings, board: Board) -> int:
    """``pass`` and ``clear``."""
    from gateway.checks.greylist import store_key
    from gateway.checks.greylist_key import key_of
    from gateway.cluster.greylist import CLEARED, Event, publish, seal_of
    from gateway.node.compose import shared_store
    from gateway.node.policy_keeper import policy_now
    from gateway.ports.store import GreylistMark

    key = args.key
    if key:
        _kind(key)
        lifetime = policy_now(settings).default.checks.greylist.pass_lifetime
    else:
        tx, _ports, checks = await _found(args, settings)
        found = _greylist(checks)
        key, lifetime = key_of(tx, found).key, found.pass_lifetime
    passes = args.kind == "pass"
    store, clock = shared_store(settings)
    try:
        await store.greylist_mark([GreylistMark(store_key(key), "|" not in key, lifetime if passes else 0)])
    finally:
        await store.close()
    event = Event(settings.node, clock.now(), "passed" if passes else CLEARED, key)
    await publish(board, seal_of(settings.shared_secret), settings.node, [event])
    if args.output == "json":
        show_json(f"greylist-{args.kind}", {"key": key})
    else:
        print(f"{key}: {'waits no more' if passes else 'nothing is known any more'}")
    return OK


async def seed(args: argparse.Namespace, settings: Settings) -> int:
    """Parties of a file wait no more, for the pass lifetime from their last use."""
    from gateway.checks.greylist import store_key
    from gateway.node.compose import shared_store
    from gateway.node.policy_keeper import policy_now
    from gateway.ports.store import GreylistMark

    checks = policy_now(settings).default.checks.greylist
    parties: dict[str, None] = {}
    lines = args.file.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if text:
            try:
                parties.update(dict.fromkeys(_parties(text, checks)))
            except ValueError as error:
                raise CommandError(DATAERR, f"{args.file}:{number}: {error}") from error
    marks = [GreylistMark(store_key(party), True, checks.pass_lifetime) for party in parties]
    if not args.dry_run:
        store, _clock = shared_store(settings)
        try:
            for at in range(0, len(marks), _PORTION):
                await store.greylist_mark(marks[at : at + _PORTION])
        finally:
            await store.close()
    if args.output == "json":
        show_json("greylist-seed", {"parties": list(parties), "dry_run": args.dry_run})
    else:
        print(f"{len(parties)} parties {'would wait' if args.dry_run else 'wait'} no more")
    return OK


def _parties(text: str, checks: GreylistSettings) -> list[str]:
    """A domain or the domain of a mailbox: as SPF or reverse names would prove it; a network: what clients in it are
    counted under. Raises ValueError."""
    from gateway.checks.greylist_allow import parse_entry
    from gateway.checks.greylist_key import organisation

    entry = parse_entry(text)
    if entry.startswith("to:"):
        raise ValueError(f"{text}: a recipient is no party; use mxgw greylist allow")
    try:
        network = ip_network(entry)
    except ValueError:
        domain = organisation(entry.rpartition("@")[2])
        return [f"spf:{domain}", f"ptr:{domain}"]
    prefix = checks.ipv4_prefix if network.version == 4 else checks.ipv6_prefix
    if network.prefixlen < prefix - 8:
        raise ValueError(f"{text}: larger than /{prefix - 8}; use mxgw greylist allow")
    if network.prefixlen >= prefix:
        return [f"net:{network.supernet(new_prefix=prefix)}"]
    return [f"net:{part}" for part in network.subnets(new_prefix=prefix)]


def _kind(key: str) -> str:
    if not key.startswith(_KINDS):
        raise CommandError(USAGE, f"{key}: a key begins with spf:, ptr: or net:, as mxgw greylist list shows it")
    return key[:3]


def _greylist(checks: ChecksSettings) -> GreylistSettings:
    from gateway.policy.settings import GreylistSettings

    found = checks.of("greylist")
    assert isinstance(found, GreylistSettings)
    return found


async def _found(args: argparse.Namespace, settings: Settings) -> tuple[Transaction, Ports, ChecksSettings]:
    """The transaction with what the checks before greylisting find, ports with the operator's entries, the settings of
    the recipient's profile."""
    from dataclasses import replace

    from gateway.checks import CHECKS
    from gateway.checks.run import run_phase
    from gateway.cluster.greylist import allowed
    from gateway.mail.address import NULL, AddressError, parse_mailbox
    from gateway.mail.phase import Phase
    from gateway.mail.transaction import Connection, Envelope, Hello, Transaction
    from gateway.node.compose import recorded_ports
    from gateway.node.duties import board_of
    from gateway.node.greylist_desk import Desk
    from gateway.node.policy_keeper import policy_now

    if not args.ip or args.path is None or not args.to:
        raise CommandError(USAGE, "a KEY, or --ip, --from and --to, say which attempt is meant")
    try:
        path = parse_mailbox(args.path) if args.path not in ("", "<>") else NULL
        rcpt, client = parse_mailbox(args.to), ip_address(args.ip)
    except (AddressError, ValueError) as error:
        raise CommandError(USAGE, str(error)) from error
    checks = policy_now(settings).for_domain(rcpt.domain).checks
    ports, _asked = recorded_ports(settings, args.zone)
    board = board_of(settings)
    try:
        desk = Desk(ports.clock, lambda _state, _waited: None)
        desk.adopt(await allowed(board))
        ports = replace(ports, greylist=desk)
        tx = Transaction("CHECK", Connection("CHECK", client), time.time())
        table = [check for check in CHECKS if check.name in ("iprev", "dnsbl", "helo", "spf")]
        tx, _ = await run_phase(table, Phase.CONNECT, tx, ports, checks)
        if args.helo:
            tx, _ = await run_phase(table, Phase.HELO, replace(tx, hello=Hello("EHLO", args.helo)), ports, checks)
        tx, _ = await run_phase(table, Phase.MAIL, replace(tx, envelope=Envelope(path)), ports, checks)
    finally:
        await board.close()
        await ports.dns.close()
    return replace(tx, rcpt=rcpt), ports, checks
