"""The blocks of a recipe in docs/mailstores, as an operator would copy them, with the names of the test's world put in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

DOCS = Path(__file__).parents[2] / "docs" / "mailstores"
PAGES = sorted(path.name for path in DOCS.glob("*.md") if path.name != "README.md")
_FENCE = re.compile(r"^```(\w+)\n(?:# ([^\n]+)\n)?(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str) -> dict[str, str]:
    """All blocks of a page by the name in their first line, which is a comment."""
    return {title: text for _, title, text in _FENCE.findall((DOCS / page).read_text(encoding="utf-8")) if title}


def gateway_blocks(page: str) -> dict[str, str]:
    """The settings of the gateway among them."""
    return {title: text for title, text in blocks(page).items() if title.startswith("gateway.yaml")}


def with_names(text: str, names: Mapping[str, str]) -> str:
    """The block with other names; each of them must stand in it, so that page and test cannot drift apart."""
    for name, other in names.items():
        assert name in text, f"{name} does not stand in the block any more:\n{text}"
        text = text.replace(name, other)
    return text


def settings(text: str) -> dict[str, Any]:
    """A block of gateway settings as a value."""
    found: dict[str, Any] = yaml.safe_load(text)
    return found
