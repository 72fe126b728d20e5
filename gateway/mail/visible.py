"""Text that strangers wrote, for terminals and pages: what could move a cursor or turn the line is shown as its code.

Known gaps: letters that look like others are let be.
"""

from __future__ import annotations

_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def visible(text: object) -> str:
    """All printable: control and format characters (also those that turn the direction of writing) and octets that are
    no UTF-8 become \\xNN or \\uNNNN."""
    said = str(text)
    if said.isprintable():
        return said
    return "".join(char if char.isprintable() else _SHORT.get(char) or _code(ord(char)) for char in said)


def _code(point: int) -> str:
    return f"\\x{point:02x}" if point < 0x100 else f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"
