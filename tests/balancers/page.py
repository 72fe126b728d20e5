"""The configurations of docs/load-balancers.md, with the addresses of a test."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "load-balancers.md"


def block(language: str) -> str:
    """The one block of code in that language."""
    (found,) = re.findall(rf"(?ms)^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"))
    return str(found)


def changed(text: str, front: int, nodes: Sequence[int], **words: str) -> str:
    """The text with these ports of nodes and other words; each must be there."""
    pairs = {f"10.0.0.1{number}:25": f"127.0.0.1:{port}" for number, port in enumerate(nodes, 1)}
    for old, new in {**pairs, **{key.replace("_", " "): word for key, word in words.items()}}.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    text = re.sub(r"(bind|listen) \[::\]:25\b", rf"\1 [::1]:{front}", text)
    return re.sub(r"(bind|listen) :?25\b", rf"\1 127.0.0.1:{front}", text)
