"""The relay leg: whatever content came in, the mailstore sees one envelope and one message, and unstuffs what came."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from parts import ANN, outgoing, relay, transaction
from scripted import ScriptedStore, scripted

sys.path.insert(0, str(Path(__file__).parents[1] / "wire"))
from smuggling_matrix import CASES

CONTENTS = sorted({message for case in CASES for bare in ("refuse", "normalize") for message in case.by_data(bare) + case.by_bdat(bare)})


def judge(store: ScriptedStore, contents: list[bytes]) -> None:
    verbs = [command.split(" ")[0] for command in store.commands]
    assert verbs.count("MAIL") == verbs.count("DATA") == len(contents)
    assert not [command for command in store.commands if "evil" in command]
    assert set(verbs) <= {"EHLO", "LHLO", "MAIL", "RCPT", "DATA", "RSET", "NOOP", "QUIT"}
    assert store.contents == contents


@pytest.mark.parametrize("lmtp", [False, True], ids=["SMTP", "LMTP"])
async def test_each_content_of_the_matrix_is_one_message(lmtp: bool) -> None:
    assert len(CONTENTS) > 100
    async with scripted(lmtp=lmtp) as store:
        mailstore = relay(store.port, scheme="lmtp" if lmtp else "smtp")
        for content in CONTENTS:
            result = await mailstore.deliver(transaction(ANN), outgoing(content, b""), 20)
            assert [one.code for one in result.results.values()] == [250]
        judge(store, CONTENTS)
    print(f"{len(CONTENTS)} contents, {sum(b'evil' in content for content in CONTENTS)} with an envelope inside")


async def test_dots_at_the_edge_of_every_piece_that_we_write() -> None:
    # the content is written in pieces of 64 KiB: the dot moves over the edge
    contents = [b"A: b\r\n\r\n" + b"x" * pad + b"\r\n.\r\n..\r\n.\r\nMAIL FROM:<evil@evil.example>\r\n" for pad in range(65536 - 40, 65536 + 4)]
    async with scripted() as store:
        mailstore = relay(store.port)
        for content in contents:
            await mailstore.deliver(transaction(ANN), outgoing(content, b""), 20)
        judge(store, contents)
