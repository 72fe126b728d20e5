"""Read an Authentication-Results field (RFC 8601 section 2.2) that somebody else wrote: for people, not for verdicts.

In: the field's value, unfolded. Out: authserv-id and results as they stand, or None where the grammar is not kept.
Lenient where writers are: version numbers and blanks around ``=`` may stand, values may hold ``=`` unquoted.
One pass over the octets, whatever they are.

Known gaps: blanks around the dot of a property are not read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_ITEM = re.compile(r'\s*([A-Za-z0-9_.-]+)(?:\s*/\s*\d+)?\s*=\s*((?:"(?:[^"\\]|\\.)*")?[^\s"]*)', re.DOTALL)
_PAIR = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ReadResult:
    """One result: method, word, reason, properties ('smtp.mailfrom' -> value) and comments, in order."""

    method: str
    word: str
    reason: str
    properties: Mapping[str, str]
    comments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReadField:
    """A field. results: () for ``none``."""

    authserv_id: str
    results: tuple[ReadResult, ...]


def read_field(value: bytes) -> ReadField | None:
    """The field's meaning, or None. Never raises."""
    parts = _split(value.decode("utf-8", "replace"))
    if parts is None or len(parts) < 2:
        return None
    (said, _), *rest = parts
    words = re.fullmatch(r'\s*("(?:[^"\\]|\\.)*"|[^\s"=]+)(?:\s+\d+)?\s*', said, re.DOTALL)
    if not words:
        return None
    results = []
    for text, comments in rest:
        if text.strip().lower() in ("none", "") and len(rest) <= 2:
            continue  # "none", or a semicolon at the end
        result = _result(text, comments)
        if result is None:
            return None
        results.append(result)
    return ReadField(_unquoted(words[1]), tuple(results))


def _split(text: str) -> list[tuple[str, tuple[str, ...]]] | None:
    """The parts between semicolons, each without its comments and with them; None where a quote or comment is open."""
    parts: list[tuple[str, tuple[str, ...]]] = []
    plain: list[str] = []
    comments: list[str] = []
    inside: list[str] = []
    depth, quoted, escaped = 0, False, False
    for char in text:
        here = inside if depth else plain
        if escaped or (char == "\\" and (quoted or depth)):
            escaped = not escaped
            here.append(char)
        elif quoted or (char == '"' and not depth):
            quoted = quoted != (char == '"')
            plain.append(char)
        elif char == "(" or (char == ")" and depth):
            depth += 1 if char == "(" else -1
            if depth == 0:
                comments.append("".join(inside).strip())
                inside = []
                plain.append(" ")
            elif depth > 1 or char == ")":
                inside.append(char)
        elif depth or char != ";":
            here.append(char)
        else:
            parts.append(("".join(plain), tuple(comments)))
            plain, comments = [], []
    parts.append(("".join(plain), tuple(comments)))
    return None if depth or quoted else parts


def _result(text: str, comments: tuple[str, ...]) -> ReadResult | None:
    items: list[tuple[str, str]] = []
    at, end = 0, len(text.rstrip())
    while at < end:
        match = _ITEM.match(text, at)
        if not match:
            return None
        items.append((match[1].lower(), _unquoted(match[2])))
        at = match.end()
    if not items:
        return None
    (method, word), *more = items
    reason = next((value for name, value in more if name == "reason"), "")
    return ReadResult(method, word.lower(), reason, {name: value for name, value in more if name != "reason"}, comments)


def _unquoted(value: str) -> str:
    if not value.startswith('"'):
        return value
    end = value.rindex('"')
    return _PAIR.sub(r"\1", value[1:end]) + value[end + 1 :]
