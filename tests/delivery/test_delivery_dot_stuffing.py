"""What the mailstore unstuffs is what was sent, wherever chunks end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from parts import ANN, outgoing, relay, transaction
from scripted import scripted

from gateway.delivery.handover import stuff

_pieces = st.lists(st.sampled_from([b".", b"..", b"\r\n", b"\r\n.", b"\r\n.\r\n", b"a", b"", b"\r", b"\n."]), max_size=30)


def _unstuff(wire: bytes) -> bytes:
    lines = wire.split(b"\r\n")
    return b"\r\n".join(line[1:] if line.startswith(b".") else line for line in lines)


@given(_pieces)
def test_unstuffed_is_what_was_sent(chunks: list[bytes]) -> None:
    whole = b"".join(chunks)
    wire = b"".join(stuff(chunks))
    assert b"\r\n.\r\n" not in b"\r\n" + wire
    assert not wire or wire.endswith(b"\r\n")
    assert _unstuff(wire) == whole + (b"" if not whole or whole.endswith(b"\r\n") else b"\r\n")


async def test_big_content_over_the_wire_is_exact() -> None:
    body = b"".join(b"." * (n % 4) + b"line %d\r\n" % n for n in range(30_000))
    async with scripted() as store:
        await relay(store.port).deliver(transaction(ANN), outgoing(b"A: b\r\n\r\n" + body, b""), 20)
        assert store.contents == [b"A: b\r\n\r\n" + body]
