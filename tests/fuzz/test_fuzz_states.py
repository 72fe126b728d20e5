"""A model of a session beside the session: any sequence of commands, in any cuts, pipelined and one by one.

The model is written from the RFCs (5321 section 4.1.4, 3030 section 4.2), not from the product's table: it foretells the
code of each reply and what the mailstore gets.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from fuzz.memory_link import converse, judge
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from wire.client import connect
from wire.house import house

EXAMPLES = int(os.environ.get("MXGW_FUZZ_EXAMPLES", "60"))
MANY: dict[str, Any] = {"errors_soft": 10**6, "errors_hard": 10**6, "junk_commands": 10**6, "fruitless_commands": 10**6, "transactions": 10**6}
SIZE = 20_000
PIECES = [b"", b"a", b"a\r", b"\n", b"\r\n", b".", b".\r\n", b"\r\n.\r\n", b"Subject: x\r\n\r\n", b"\r\nQUIT\r\n", b"\0"]


def crlf_only(octets: bytes) -> bool:
    left = octets.replace(b"\r\n", b"")
    return b"\r" not in left and b"\n" not in left


class Model(RuleBasedStateMachine):
    """steps: what the client sends at once, and the codes that it must hear for it."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[tuple[bytes, list[int]]] = []
        self.kept: list[bytes] = []
        self.hello = self.mail = self.spoiled = self.closed = False
        self.rcpts = 0
        self.chunks: bytes | None = None
        self.thrown_away = 0

    def say(self, octets: bytes, *codes: int) -> None:
        self.steps.append((octets, list(codes)))

    def end_transaction(self) -> None:
        self.mail, self.rcpts, self.chunks = False, 0, None

    @property
    def open(self) -> bool:
        return not self.closed

    # ---- commands

    @rule(verb=st.sampled_from([b"EHLO", b"HELO", b"ehlo"]))
    @precondition(lambda self: self.open)
    def says_hello(self, verb: bytes) -> None:
        self.end_transaction()
        self.hello, self.spoiled = True, False
        self.say(verb + b" c.example\r\n", 250)

    @rule()
    @precondition(lambda self: self.open)
    def resets(self) -> None:
        self.end_transaction()
        self.spoiled = False
        self.say(b"RSET\r\n", 250)

    @rule(path=st.sampled_from([b"<>", b"<a@b.example>", b"<a@b.example> SIZE=5 BODY=8BITMIME"]))
    @precondition(lambda self: self.open)
    def gives_a_reverse_path(self, path: bytes) -> None:
        well = self.hello and not self.mail and not self.spoiled
        self.mail = self.mail or well
        self.say(b"MAIL FROM:" + path + b"\r\n", 250 if well else 503)

    @rule(path=st.sampled_from([(b"<u@example.com>", 250), (b"<v@example.com>", 250), (b"<w@other.example>", 550), (b"x", 501)]))
    @precondition(lambda self: self.open)
    def gives_a_recipient(self, path: tuple[bytes, int]) -> None:
        forward_path, code = path
        well = self.mail and self.chunks is None
        if well and code == 250:
            self.rcpts += 1
        self.say(b"RCPT TO:" + forward_path + b"\r\n", code if well else 503)

    @rule(
        line=st.sampled_from(
            [(b"NOOP", 250), (b"NOOP x", 250), (b"HELP", 214), (b"VRFY u", 252), (b"VRFY", 501), (b"EXPN u", 502), (b"AUTH PLAIN", 502),
             (b"ETRN x", 502), (b"STARTTLS", 454), (b"XYZZY", 500), (b"", 500), (b"NO\nOP", 500), (b"NO\rOP", 500), (b"\0", 500),
             (b"NOOP " + b"y" * 2050, 500), (b"RSET x", 501), (b"QUIT x", 501), (b"MAIL TO:<>", 501), (b"XCLIENT ADDR=192.0.2.1", 502)]
        )
    )  # fmt: skip
    @precondition(lambda self: self.open)
    def says_something_else(self, line: tuple[bytes, int]) -> None:
        octets, code = line
        if octets.startswith(b"MAIL") and (self.mail or self.spoiled or not self.hello):
            code = 503
        self.say(octets + b"\r\n", code)

    @rule()
    @precondition(lambda self: self.open)
    def opens_a_transaction(self) -> None:
        self.says_hello(b"EHLO")
        self.gives_a_reverse_path(b"<>")
        self.gives_a_recipient((b"<u@example.com>", 250))

    # ---- content

    @rule(text=st.lists(st.sampled_from(PIECES), max_size=4).map(b"".join))
    @precondition(lambda self: self.open)
    def sends_data(self, text: bytes) -> None:
        if not self.rcpts or self.chunks is not None or self.spoiled:
            self.say(b"DATA\r\n", 554 if self.mail and not self.rcpts else 503)
            return
        body = text if not text or text.endswith(b"\r\n") else text + b"\r\n"
        stuffed = (b"\r\n" + body).replace(b"\r\n.", b"\r\n..")[2:]
        well = crlf_only(body)
        self.say(b"DATA\r\n", 354)
        self.say(stuffed + b".\r\n", 250 if well else 554)
        self.end_transaction()
        if well:
            self.kept.append(body)
        else:
            self.closed = True

    @rule(text=st.lists(st.sampled_from(PIECES), max_size=3).map(b"".join), last=st.booleans(), big=st.integers(0, 30))
    @precondition(lambda self: self.open)
    def sends_a_chunk(self, text: bytes, last: bool, big: int) -> None:
        text = b"z" * (SIZE + 1) if big == 7 else text
        octets = b"BDAT %d%b\r\n" % (len(text), b" LAST" if last else b"") + text
        if not self.rcpts or self.spoiled:
            self.thrown_away += len(text)
            self.closed = self.thrown_away > 2 * SIZE
            self.say(octets, 554 if self.mail and not self.spoiled else 503)
            self.spoiled = self.spoiled and not last
            return
        whole = (self.chunks or b"") + text
        if len(whole) > SIZE:
            self.say(octets, 552)
            self.end_transaction()
            self.spoiled = not last
        elif not last:
            self.say(octets, 250)
            self.chunks = whole
        elif crlf_only(whole):
            self.say(octets, 250)
            self.kept.append(whole if not whole or whole.endswith(b"\r\n") else whole + b"\r\n")
            self.end_transaction()
        else:
            self.say(octets, 554)
            self.closed = True

    @rule(argument=st.sampled_from([b"", b" x", b" -1", b" 5 FIRST", b" 5LAST", b" 0x10", b" 5 LAST LAST"]))
    @precondition(lambda self: self.open)
    def sends_a_chunk_of_nobody_knows_how_much(self, argument: bytes) -> None:
        self.say(b"BDAT" + argument + b"\r\n", 501)
        self.closed = True

    @rule()
    @precondition(lambda self: self.closed)
    def is_not_heard_any_more(self) -> None:
        self.say(b"MAIL FROM:<>\r\n")

    # ---- the session's turn

    def teardown(self) -> None:
        if self.open:
            self.say(b"QUIT\r\n", 221)
        expected = [220, *(code for _, codes in self.steps for code in codes)]
        whole = b"".join(octets for octets, _ in self.steps)
        for size in (len(whole), 1, 3):
            if size < len(whole) and len(whole) > 6000:
                continue
            pieces = [whole[n : n + size] for n in range(0, len(whole), max(1, size))]
            outcome = asyncio.run(converse(pieces, message_octets=SIZE, **MANY))
            judge(outcome, 65536)
            assert [code for code, _ in outcome.replies] == expected
            assert outcome.kept == self.kept
        asyncio.run(self.one_by_one())

    async def one_by_one(self) -> None:
        """Over a real socket, waiting for each reply."""
        async with house(message_octets=SIZE, memory_percent=0, **MANY) as h, connect(h.port) as c:
            assert (await c.reply()).code == 220
            for octets, codes in self.steps:
                await c.send(octets)
                for code in codes:
                    assert (await c.reply()).code == code, (octets, codes)
            assert (await c.reply()).code == 0
            assert h.relay.kept == self.kept


TestSessionsFollowTheModel = Model.TestCase
TestSessionsFollowTheModel.settings = settings(
    max_examples=EXAMPLES, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
