"""Transcripts over a real socket. One file, one dialog.

``C:`` sends a line. ``P:`` lines that stand together go out in one segment. ``S:`` expects a reply: its code and enhanced
status, and the first line's text only if given; ``S: close`` the end of the connection. ``T:`` does the TLS handshake.
``#`` comments; a comment ``# tls`` gives the server a certificate.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "wire"))
from client import connect
from house import house

DIALOGS = sorted(Path(__file__).parent.glob("*.smtp"))
EXPECTED = re.compile(r"(?P<code>\d{3})(?: (?P<enhanced>[245]\.\d+\.\d+))?(?: (?P<text>.+))?")


@pytest.mark.parametrize("path", DIALOGS, ids=lambda path: path.stem)
async def test_dialog(path: Path, tmp_path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    async with house(tls=tmp_path if "# tls" in lines else None) as h, connect(h.port) as c:
        segment = b""
        for number, line in enumerate(lines, 1):
            kind, text = line[:2], line[3:]
            if segment and kind != "P:":
                await c.send(segment)
                segment = b""
            if kind == "C:":
                await c.send(text.encode() + b"\r\n")
            elif kind == "P:":
                segment += text.encode() + b"\r\n"
            elif kind == "T:":
                await c.handshake()
            elif kind == "S:":
                said = await c.reply()
                where = f"{path.name}:{number}: {said}"
                if text == "close":
                    assert said.code == 0, where
                    continue
                match = EXPECTED.fullmatch(text)
                assert match, f"{path.name}:{number}: not an expectation"
                assert (str(said.code), said.enhanced) == (match["code"], match["enhanced"] or ""), where
                assert match["text"] is None or said.texts[0] == match["text"], where
                # a foreign postmaster can quote every refusal
                assert said.code < 400 or re.search(r"\[[0-9A-Z]{12}(-\d+)?\]$", said.texts[-1]), where


def test_there_are_dialogs() -> None:
    assert len(DIALOGS) >= 15
