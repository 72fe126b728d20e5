"""Tag lists of RFC 6376 section 3.2 (``v=1; a=rsa-sha256; ...``), as DKIM, ARC and key records write them.

In: the octets of a field's value or of a TXT record. Out: name -> value with blanks stripped at both ends, in order.
Strict: a duplicate or a malformed tag is a TagError, as the section demands. Linear whatever the octets are.

Known gaps: none.
"""

from __future__ import annotations

import base64
import binascii
import re

_NAME = re.compile(rb"[A-Za-z][A-Za-z0-9_]*")
_BLANKS = b" \t\r\n"
_NO_BLANKS = bytes.maketrans(b"", b"")


class TagError(ValueError):
    """Not a tag list; the text is safe to log."""


def parse_tags(text: bytes) -> dict[str, bytes]:
    """The tags in order. Raises TagError for an empty list, a malformed or a duplicate tag."""
    tags: dict[str, bytes] = {}
    for part in _without_last(text.split(b";")):
        name, equals, value = part.partition(b"=")
        name = name.strip(_BLANKS)
        if not equals or not _NAME.fullmatch(name):
            raise TagError("malformed tag")
        key = name.decode("ascii")
        if key in tags:
            raise TagError("duplicate tag")
        tags[key] = value.strip(_BLANKS)
    if not tags:
        raise TagError("no tags")
    return tags


def _without_last(parts: list[bytes]) -> list[bytes]:
    return parts[:-1] if not parts[-1].strip(_BLANKS) else parts


def words(value: bytes) -> tuple[bytes, ...]:
    """A colon-separated list, blanks around its items dropped, lower case."""
    return tuple(item.strip(_BLANKS).lower() for item in value.split(b":"))


def decode_base64(value: bytes) -> bytes:
    """Base64 with folding blanks inside (section 2.10). Raises TagError."""
    try:
        return base64.b64decode(value.translate(_NO_BLANKS, _BLANKS), validate=True)
    except binascii.Error as error:
        raise TagError("not base64") from error


def without_b_value(raw: bytes) -> bytes:
    """A whole field less its final CRLF, the value of b= and the blanks around that (section 3.7)."""
    name, colon, value = raw.removesuffix(b"\r\n").partition(b":")
    parts = value.split(b";")
    for n, part in enumerate(parts):
        tag, equals, _ = part.partition(b"=")
        if equals and tag.strip(_BLANKS) == b"b":
            parts[n] = tag + b"="
            break
    return name + colon + b";".join(parts)
