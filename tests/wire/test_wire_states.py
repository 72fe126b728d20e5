"""The state table, cell by cell, over a socket: what it refuses is refused with its words, what it allows is not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from client import RawClient, connect
from house import house

from gateway.smtp.states import CELLS, REFUSALS, VERBS, Chunking, State, state_of

ARGUMENTS = {
    "EHLO": "EHLO client.example",
    "HELO": "HELO client.example",
    "MAIL": "MAIL FROM:<a@sender.example>",
    "RCPT": "RCPT TO:<second@example.com>",
    "BDAT": "BDAT 7 LAST\r\nhello",
    "VRFY": "VRFY user",
    "EXPN": "EXPN list",
}
ALLOWED = {"EHLO": 250, "HELO": 250, "MAIL": 250, "RCPT": 250, "DATA": 354, "BDAT": 250, "RSET": 250}
ALLOWED |= {"NOOP": 250, "QUIT": 221, "HELP": 214, "VRFY": 252, "EXPN": 502, "STARTTLS": 220}


async def _connected(c: RawClient) -> None:
    assert (await c.reply()).code == 220


async def _greeted(c: RawClient) -> None:
    await _connected(c)
    assert (await c.ask("EHLO client.example")).code == 250


async def _reverse_path(c: RawClient) -> None:
    await _greeted(c)
    assert (await c.ask("MAIL FROM:<a@sender.example>")).code == 250


async def _recipients(c: RawClient) -> None:
    await _reverse_path(c)
    assert (await c.ask("RCPT TO:<user@example.com>")).code == 250


async def _chunks(c: RawClient) -> None:
    await _recipients(c)
    assert (await c.ask("BDAT 4\r\nab")).code == 250


async def _spoiled(c: RawClient) -> None:
    await _recipients(c)
    assert (await c.ask(b"BDAT 1500\r\n" + b"x" * 1498)).status == "552 5.3.4"


REACH: dict[State, Callable[[RawClient], Awaitable[None]]] = {
    State.CONNECTED: _connected,
    State.GREETED: _greeted,
    State.REVERSE_PATH: _reverse_path,
    State.RECIPIENTS: _recipients,
    State.CHUNKS: _chunks,
    State.SPOILED: _spoiled,
}


@pytest.mark.parametrize("state", State, ids=lambda state: state.name)
@pytest.mark.parametrize("verb", VERBS)
async def test_cell(state: State, verb: str, tmp_path: Path) -> None:
    cell = CELLS[state, verb]
    async with house(tls=tmp_path, message_octets=1000) as h, connect(h.port) as c:
        await REACH[state](c)
        said = await c.ask(ARGUMENTS.get(verb, verb))
        if cell == "ok":
            assert said.code == ALLOWED[verb], said
        else:
            code, enhanced, text = REFUSALS[cell]
            assert said.status == f"{code} {enhanced}"
            assert said.texts[0].startswith(text)
        if verb not in ("DATA", "QUIT", "STARTTLS"):
            # whatever was refused: the session goes on, and no octet of content was taken for a command
            assert (await c.ask("RSET")).status == "250 2.0.0"
            assert (await c.ask("NOOP")).status == "250 2.0.0"


def test_the_table_is_whole() -> None:
    assert {state for state, _ in CELLS} == set(State) == set(REACH)
    assert len(CELLS) == len(State) * len(VERBS)
    assert {cell for cell in CELLS.values() if cell != "ok"} == set(REFUSALS)


def test_a_state_is_a_fact_about_values() -> None:
    def state(**facts: bool) -> State:
        chunking = facts.pop("chunking", Chunking.NONE)
        return state_of(chunking=chunking, **{"hello": False, "transaction": False, "recipients": False, **facts})

    assert state() is State.CONNECTED
    assert state(hello=True) is State.GREETED
    assert state(hello=True, transaction=True) is State.REVERSE_PATH
    assert state(hello=True, transaction=True, recipients=True) is State.RECIPIENTS
