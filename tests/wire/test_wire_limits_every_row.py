"""Each row of the table of limits (docs/limits.md) over a real session: all is well at it, and one more hears its reply.

A scenario (limit_rows_*.py) lowers the limit where a setting can, goes as far as the limit allows, and returns what it heard
beyond it. A row without a scenario fails.
"""

from __future__ import annotations

import limit_rows_commands  # noqa: F401 - each brings its scenarios
import limit_rows_content  # noqa: F401
import limit_rows_sessions  # noqa: F401
import limit_rows_time  # noqa: F401
import pytest
from limit_rows import SCENARIOS

from gateway.mail.limits import WIRE_TABLE, WireLimit
from gateway.mail.reply import REPLIES

EXPECTED_WORDS = {
    "the reply, a second later": "503 5.5.1",
    "the reply, without a wait": "503 5.5.1",
    "the greeting": "220",
    "the connection is closed": "0",
    "421 4.7.0 to the last": "421 4.7.0",
    "501 5.1.7 or 5.1.3": "501 5.1.3",
}
"""What stands in the table for rows whose reply is not one of the reply table."""


def test_every_row_has_a_scenario() -> None:
    assert set(SCENARIOS) == {limit.what for limit in WIRE_TABLE}


@pytest.mark.parametrize("limit", WIRE_TABLE, ids=lambda limit: limit.what.replace(" ", "-"))
async def test_at_the_limit_all_is_well_and_beyond_it_its_reply_is_heard(limit: WireLimit) -> None:
    said = await SCENARIOS[limit.what]()
    known = REPLIES.get(limit.heard)
    expected = f"{known.code} {known.enhanced}" if known else EXPECTED_WORDS.get(limit.heard, limit.heard)
    assert said.status == expected
