"""What may be said when: the state machine of a session as a table (RFC 5321 section 4.1.4, RFC 3030 section 4.2).

Theory. A session is in one of six states, and each is a fact about values, never a flag that somebody must reset:

    CONNECTED     there is no hello: before the first, after STARTTLS (RFC 3207 section 4.2)
    GREETED       there is a hello and no transaction
    REVERSE_PATH  MAIL was accepted, no recipient yet
    RECIPIENTS    a RCPT was accepted
    CHUNKS        a BDAT chunk was accepted and LAST has not come
    SPOILED       a chunk was refused: the transaction is gone, but the client's pipeline may hold more of it

    CONNECTED --EHLO--> GREETED --MAIL--> REVERSE_PATH --RCPT--> RECIPIENTS --DATA, BDAT LAST--> GREETED
                                                                 RECIPIENTS --BDAT--> CHUNKS --BDAT LAST--> GREETED
                                                                 CHUNKS --refused BDAT--> SPOILED

EHLO and HELO lead to GREETED and RSET to GREETED (or CONNECTED) from everywhere; so they and the verbs that ask
nothing of the state (NOOP, HELP, VRFY, EXPN, QUIT, STARTTLS) are allowed in each. A refused command changes nothing.
From SPOILED only those lead out, and the BDAT that says LAST: a client that had sent the rest of its chunks before it
heard of the refusal must not find the next chunk taken for the first one of a new message (RFC 3030 section 4.2).
DATA and BDAT do not mix in one transaction (section 3). Whatever the table says of a BDAT, its octets are read: they
are content, and were they not read they would be taken for commands.

A cell is the key of :data:`REFUSALS`; ``ok`` lets the verb through to its own syntax and to the policy.

Known gaps: whether TLS is active is no state here; only STARTTLS asks, and answers for itself.
"""

from __future__ import annotations

from enum import Enum
from typing import Final


class State(Enum):
    """Where a session stands."""

    CONNECTED = 0
    GREETED = 1
    REVERSE_PATH = 2
    RECIPIENTS = 3
    CHUNKS = 4
    SPOILED = 5


class Chunking(Enum):
    """How far the chunks of a transaction have come."""

    NONE = 0
    BEGUN = 1
    SPOILED = 2


_TABLE: Final = """
verb      CONNECTED  GREETED   REVERSE_PATH  RECIPIENTS  CHUNKS   SPOILED
EHLO      ok         ok        ok            ok          ok       ok
HELO      ok         ok        ok            ok          ok       ok
MAIL      no-hello   ok        nested        nested      nested   spoiled
RCPT      no-mail    no-mail   ok            ok          begun    spoiled
DATA      no-rcpt    no-rcpt   none-valid    ok          mixed    spoiled
BDAT      no-rcpt    no-rcpt   none-valid    ok          ok       spoiled
RSET      ok         ok        ok            ok          ok       ok
NOOP      ok         ok        ok            ok          ok       ok
QUIT      ok         ok        ok            ok          ok       ok
HELP      ok         ok        ok            ok          ok       ok
VRFY      ok         ok        ok            ok          ok       ok
EXPN      ok         ok        ok            ok          ok       ok
STARTTLS  ok         ok        ok            ok          ok       ok
"""

REFUSALS: Final[dict[str, tuple[int, str, str]]] = {
    "no-hello": (503, "5.5.1", "Say EHLO or HELO first"),
    "nested": (503, "5.5.1", "A transaction is open already"),
    "no-mail": (503, "5.5.1", "MAIL first"),
    "no-rcpt": (503, "5.5.1", "MAIL and RCPT first"),
    "none-valid": (554, "5.5.1", "No valid recipients"),
    "begun": (503, "5.5.1", "BDAT has begun"),
    "mixed": (503, "5.5.1", "DATA and BDAT do not mix"),
    "spoiled": (503, "5.5.1", "A chunk was refused, RSET first"),
}
"""cell -> code, enhanced status, text."""


def _parse(table: str) -> dict[tuple[State, str], str]:
    heads, *rows = (line.split() for line in table.strip().splitlines())
    return {(State[head], row[0]): cell for row in rows for head, cell in zip(heads[1:], row[1:], strict=True)}


CELLS: Final = _parse(_TABLE)
VERBS: Final = tuple(dict.fromkeys(verb for _, verb in CELLS))


def state_of(*, hello: bool, transaction: bool, recipients: bool, chunking: Chunking) -> State:
    """The state that these facts make."""
    if chunking is Chunking.SPOILED:
        return State.SPOILED
    if transaction:
        if chunking is Chunking.BEGUN:
            return State.CHUNKS
        return State.RECIPIENTS if recipients else State.REVERSE_PATH
    return State.GREETED if hello else State.CONNECTED


def refusal(state: State, verb: str) -> tuple[int, str, str] | None:
    """None: the verb is allowed. Else code, enhanced status and text of the refusal."""
    return REFUSALS.get(CELLS[state, verb])
