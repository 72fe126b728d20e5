"""Each id that a refused client can quote stands in a record, also where no transaction was open."""

from __future__ import annotations

import re
from ipaddress import ip_network

import pytest
from client import connect
from house import house

from gateway.evidence.record import REFUSALS
from gateway.evidence.tracking import is_of
from tests.wire.test_wire_session_life import until

OUTSIDE = [
    (["EHLO"], "501 5.5.4"),
    (["MAIL FROM:<>"], "503 5.5.1"),
    (["EHLO x", "MAIL FROM:<a@b@c>"], "501 5.1.7"),
    (["EHLO x", "MAIL FROM:<b\u00fccher@x.example>"], "553 5.6.7"),
    (["EHLO x", "MAIL FROM:<> NEVER=HEARD"], "555 5.5.4"),
    (["EHLO x", "AUTH PLAIN AGFubgBzZWNyZXQ="], "502 5.5.1"),
    (["WHAT"], "500 5.5.2"),
    (["EHLO x", "BDAT 0 LAST"], "503 5.5.1"),
]


@pytest.mark.parametrize(("commands", "status"), OUTSIDE, ids=lambda given: given if isinstance(given, str) else given[-1][:9])
async def test_outside_a_transaction_the_session_has_a_record(commands: list[str], status: str) -> None:
    async with house() as h, connect(h.port) as c:
        await c.reply()
        for command in commands:
            said = await c.ask(command)
        assert said.status == status
        await c.ask("QUIT")
        await until(lambda: bool(h.watcher.records))
    (record,) = h.watcher.records
    (ident,) = re.findall(r"\[(\S+)\]$", said.texts[-1])
    assert is_of(record, ident)
    assert (record["event"], record["reason"]) == ("session", "protocol")
    assert record["result"] == "rejected"
    assert record["protocol"] == [f"{status} {said.texts[-1]}"]
    assert record["reply"] == record["protocol"][-1]
    assert "AGFub" not in str(record)  # what nobody may see is not written down


async def test_inside_a_transaction_its_record_tells() -> None:
    async with house() as h, connect(h.port) as c:
        await c.reply()
        await c.ask("EHLO x")
        await c.ask("MAIL FROM:<ann@sender.example>")
        said = await c.ask("RCPT TO:<user@@example.com>")
        await c.ask("QUIT")
        await until(lambda: bool(h.watcher.records))
    (record,) = h.watcher.records
    assert record["event"] == "transaction"
    assert record["protocol"] == [f"501 5.1.3 {said.texts[-1]}"]
    assert record["qid"] in said.texts[-1]


async def test_what_was_refused_before_xclient_is_told_too() -> None:
    async with house(listener={"xclient": [ip_network("127.0.0.0/8")]}) as h, connect(h.port) as c:
        await c.reply()
        said = await c.ask("MAIL FROM:<>")
        await c.ask("EHLO filter.example.com")
        assert (await c.ask("XCLIENT ADDR=192.0.2.7")).code == 220
        await c.ask("QUIT")
        await until(lambda: bool(h.watcher.ended))
    (record,) = h.watcher.records
    assert record["protocol"] == [f"503 5.5.1 {said.texts[-1]}"]


async def test_who_is_told_nothing_has_no_record() -> None:
    async with house() as h, connect(h.port) as c:
        await c.reply()
        await c.ask("EHLO x")
        await c.ask("QUIT")
        await until(lambda: bool(h.watcher.ended))
    assert h.watcher.records == []


async def test_a_time_out_is_told_and_many_refusals_stay_one_record() -> None:
    async with house(command_timeout=0.3, errors_soft=100, errors_hard=100, junk_commands=100) as h, connect(h.port) as c:
        await c.reply()
        for _ in range(REFUSALS + 5):
            await c.ask("WHAT")
        assert (await c.reply()).status == "421 4.4.2"
        await until(lambda: bool(h.watcher.records))
    (record,) = h.watcher.records
    assert len(record["protocol"]) == REFUSALS
    assert record["reply"].startswith("421 4.4.2 ")
    assert record["result"] == "deferred"
