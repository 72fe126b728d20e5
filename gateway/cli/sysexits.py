"""Exit codes of sysexits(3), as far as commands use them.

Known gaps: none.
"""

from typing import Final

OK: Final = 0
NEGATIVE: Final = 1
"""The command ran well and the answer is no."""
USAGE: Final = 64
DATAERR: Final = 65
NOINPUT: Final = 66
UNAVAILABLE: Final = 69
SOFTWARE: Final = 70
TEMPFAIL: Final = 75
CONFIG: Final = 78
INTERRUPTED: Final = 130
