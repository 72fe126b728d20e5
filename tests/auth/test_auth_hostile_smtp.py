"""The same content over a socket: from the first octet of DATA to the reply, nothing holds the loop of the node."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest
from auth_signer import MAIL, sign
from hostile_meter import HELD, measured
from test_auth_hostile_content import AUTHENTICATION, HEADERS, MIME

from tests.wire.client import RawClient, Said
from tests.wire.house import house

TABLE: list[str] = []
FIELDS = MAIL.partition(b"\r\n\r\n")[0] + b"\r\nMIME-Version: 1.0\r\n"
CONTENT: dict[str, Callable[[], bytes]] = {
    "1 MB of runs of 990 blanks": lambda: sign(MAIL + (b" " * 990 + b"\r\n") * 1000),
    "1 MB of lines of one blank": lambda: sign(MAIL + b" \r\n" * 330_000),
    "1 MB of dots": lambda: sign(MAIL) + b"..\r\n" * 250_000,
    "a header of 2,000 fields": lambda: HEADERS["2,000 fields"]() + MAIL,
    "a header of folds": lambda: HEADERS["a field of folds"]() + MAIL,
    "a header of A-R": lambda: HEADERS["2,000 A-R of U-labels"]() + MAIL,
    "MIME of 20,000 parts": lambda: FIELDS + MIME["20,000 parts"](),
    "MIME of 99 levels and many delimiters": lambda: FIELDS + MIME["99 levels and 60,000 delimiters of none"](),
}
WORDS = {250, 552, 554}
"""Taken, or refused for its header or its MIME shape."""


@pytest.fixture(scope="module", autouse=True)
def table() -> Iterator[None]:
    yield
    print("\n" + "\n".join(TABLE))


@pytest.mark.parametrize("name", CONTENT)
async def test_over_a_socket(name: str) -> None:
    octets = CONTENT[name]().replace(b"\r\n.", b"\r\n..").removesuffix(b"\r\n") + b"\r\n.\r\n"
    async with house(checks=AUTHENTICATION) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        client = RawClient(reader, writer, 30)
        await client.reply()
        for command in ("EHLO c.example.net", "MAIL FROM:<a@example.com>", "RCPT TO:<u@example.com>", "DATA"):
            assert (await client.ask(command)).code in (250, 354)

        async def sent() -> Said:
            # in pieces, as a network brings them: the sender runs on the loop that is measured
            for at in range(0, len(octets), 65536):
                writer.write(octets[at : at + 65536])
                await writer.drain()
            return await client.reply()

        said, figures = await measured(sent())
        writer.close()
    TABLE.append(figures.line(f"over SMTP: {name}"))
    assert said.code in WORDS, said
    assert figures.held < HELD, TABLE[-1]
