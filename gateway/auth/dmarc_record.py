"""DMARC policy records (RFC 9989 section 4.7): TXT text to a value.

In: all TXT records at ``_dmarc.<domain>``. Out: a Record, or None where there is none that counts: records that do not
begin with v=DMARC1 are not DMARC's, and several at one name are all discarded. What else is wrong in a record gives way
to the defaults, but for p, sp and np (section 4.10.1): without a report address such a record is broken.

Known gaps: report addresses are only tested for being there; reports are not sent.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

MAX_RECORD_OCTETS = 8192
Level = Literal["none", "quarantine", "reject"]
LEVELS: tuple[Level, ...] = ("none", "quarantine", "reject")
_VERSION = re.compile(r"v[ \t]*=[ \t]*DMARC1[ \t]*(?:;|$)")
_REPORT_URI = re.compile(r"[ \t]*[a-z][a-z0-9+.-]*:[^\s,;]+[ \t]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Record:
    """p, sp and np as they apply (sp and np None where not published); strict alignment for DKIM and SPF; psd 'y', 'n'
    or 'u'; testing: t=y. broken: where it would apply, DMARC does not."""

    p: Level
    sp: Level | None = None
    np: Level | None = None
    strict_dkim: bool = False
    strict_spf: bool = False
    psd: str = "u"
    testing: bool = False
    broken: bool = False


def choose_record(texts: Sequence[str]) -> Record | None:
    """The one record of a name, or None."""
    candidates = [text for text in texts if _VERSION.match(text) and len(text) <= MAX_RECORD_OCTETS]
    return _parse(candidates[0]) if len(candidates) == 1 else None


def _parse(text: str) -> Record:
    tags: dict[str, str] = {}
    for part in text.split(";"):
        name, equals, value = part.partition("=")
        if equals:
            tags.setdefault(name.strip().lower(), value.strip())
    given = {tag: tags[tag].lower() for tag in ("p", "sp", "np") if tag in tags}
    broken = False
    if any(value not in LEVELS for value in given.values()):
        # who asks for reports is still one who watches, and no harm is done in his name
        broken = not any(_REPORT_URI.fullmatch(uri) for uri in tags.get("rua", "").split(","))
        levels: dict[str, Level] = {"p": "none"}
    else:
        levels = {tag: cast(Level, value) for tag, value in given.items()}
    return Record(
        p=levels.get("p", "none"),
        sp=levels.get("sp"),
        np=levels.get("np"),
        strict_dkim=tags.get("adkim", "r").lower() == "s",
        strict_spf=tags.get("aspf", "r").lower() == "s",
        psd=_one_of(tags.get("psd", "u").lower(), ("y", "n", "u"), "u"),
        testing=tags.get("t", "n").lower() == "y",
        broken=broken,
    )


def _one_of(value: str, allowed: tuple[str, ...], otherwise: str) -> str:
    return value if value in allowed else otherwise
