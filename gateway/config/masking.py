"""Text with its passwords made unreadable, for every place where a setting is shown.

Known gaps: a password that stands in a path, not in a URL's user part or query, is not known as one.
"""

from __future__ import annotations

import re
from typing import Final

MASK: Final = "******"
_PASSWORD = re.compile(r"(?P<head>[A-Za-z+]+://(?:[^:/?#@\s]*:)?)[^\s]+(?=@)")
_PARAMETER = re.compile(r"(?P<head>[?&](?:password|secret|token)=)[^&#\s']+", re.IGNORECASE)


def masked(text: str) -> str:
    """The text with passwords in URLs replaced; a user name without a password counts as one."""
    return _PARAMETER.sub(rf"\g<head>{MASK}", _PASSWORD.sub(rf"\g<head>{MASK}", text))
