"""Lines of a judgement: how bad, about what, of whom, in words; and the exit code that they come to.

Known gaps: none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How a line is meant."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"
    UNKNOWN = "unknown"  # nobody answered


@dataclass(frozen=True, slots=True)
class Line:
    """about: mx, ptr, spf ...; subject: the name, address or domain that is meant."""

    level: Level
    about: str
    subject: str
    text: str

    def as_json(self) -> dict[str, str]:
        """For programs."""
        return {"level": self.level.value, "about": self.about, "subject": self.subject, "text": self.text}


def ok(about: str, subject: str, text: str) -> Line:
    """All is well."""
    return Line(Level.OK, about, subject, text)


def note(about: str, subject: str, text: str) -> Line:
    """Neither good nor bad."""
    return Line(Level.NOTE, about, subject, text)


def warning(about: str, subject: str, text: str) -> Line:
    """Works, and should not stay so."""
    return Line(Level.WARNING, about, subject, text)


def error(about: str, subject: str, text: str) -> Line:
    """Mail is lost, delayed or unprotected by this."""
    return Line(Level.ERROR, about, subject, text)


def unknown(about: str, subject: str, text: str) -> Line:
    """It could not be found out."""
    return Line(Level.UNKNOWN, about, subject, text)


def exit_code(lines: Sequence[Line], strict: bool = False) -> int:
    """1 for an error (strict: or a warning), else 69 where something could not be found out, else 0."""
    levels = {line.level for line in lines}
    if Level.ERROR in levels or (strict and Level.WARNING in levels):
        return 1
    return 69 if Level.UNKNOWN in levels else 0


def counted(lines: Sequence[Line]) -> dict[str, int]:
    """How many lines of each level."""
    return {level.value: sum(line.level is level for line in lines) for level in Level}
