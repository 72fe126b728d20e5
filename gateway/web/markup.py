"""HTML from values: every text is escaped unless it is markup that was made here.

Known gaps: none.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Final

from gateway.mail.visible import visible

_VOID: Final = frozenset({"input", "link", "meta", "br"})


class Markup(str):
    """Text that is HTML already. Made by ``tag`` and ``joined`` only."""

    __slots__ = ()


Child = str | int | float | Markup


def tag(name: str, /, *children: Child, **attributes: str | int | bool) -> Markup:
    """An element. An attribute's name may end in ``_``, and ``_`` inside stands for ``-``; True: it has no value;
    False: it is left out."""
    said = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{_escaped(value)}"')
        for key, value in attributes.items()
        if value is not False
    )
    if name in _VOID:
        return Markup(f"<{name}{said}>")
    return Markup(f"<{name}{said}>{joined(children)}</{name}>")


def joined(children: Iterable[Child]) -> Markup:
    """One after the other."""
    return Markup("".join(child if isinstance(child, Markup) else _escaped(child) for child in children))


def _escaped(value: object) -> str:
    return html.escape(visible(value), quote=True)


def table(heads: Sequence[str], rows: Iterable[Sequence[Child]], empty: str = "none") -> Markup:
    """A table; on a narrow screen each row becomes a card whose lines bear the heads."""
    lines = [
        tag("tr", *(tag("td", cell, data_label=head) for head, cell in zip(heads, row, strict=True))) for row in rows
    ]
    if not lines:
        return tag("p", empty, class_="empty")
    return tag(
        "table", tag("thead", tag("tr", *(tag("th", head, scope="col") for head in heads))), tag("tbody", *lines)
    )


def pairs(rows: Iterable[tuple[str, Child]]) -> Markup:
    """Names and values."""
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in rows))


def mark(word: str, kind: str = "") -> Markup:
    """A word with a colour of its kind: good, bad, odd. The word says it all: colours only help."""
    return tag("span", word, class_=f"mark {kind or KINDS.get(word, 'plain')}")


KINDS: Final = {
    **dict.fromkeys(("accepted", "accept", "serving", "ok", "up"), "good"),
    **dict.fromkeys(("rejected", "reject", "lost", "down", "disabled"), "bad"),
    **dict.fromkeys(("deferred", "defer", "quarantine", "partly", "draining", "suspect", "aborted"), "odd"),
}
"""Words that stand on the page -> their colour."""


def document(title: str, here: str, menu: Sequence[tuple[str, str]], body: Sequence[Child], refresh: int) -> bytes:
    """A whole page. refresh: seconds after which it is read again; 0: never."""
    links = [tag("a", name, href=path, aria_current="page" if path == here else False) for path, name in menu]
    again = tag("noscript", tag("meta", http_equiv="refresh", content=refresh * 5)) if refresh else Markup("")
    page = tag(
        "html",
        tag(
            "head",
            tag("meta", charset="utf-8"),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("meta", name="color-scheme", content="light dark"),
            again,
            tag("title", f"{title} - mxgw"),
            tag("link", rel="icon", href="/static/icon.svg"),
            tag("link", rel="stylesheet", href="/static/page.css"),
            tag("script", src="/static/page.js", defer=True),
        ),
        tag(
            "body",
            tag("header", tag("strong", "mxgw"), tag("nav", *links, aria_label="Pages"), tag("output", id="fresh")),
            tag("main", *body, data_refresh=refresh),
        ),
        lang="en",
    )
    return f"<!doctype html>{page}\n".encode()
