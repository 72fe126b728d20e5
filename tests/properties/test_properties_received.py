"""What must hold of the client behind a trusted relay, whatever stands in the fields.

Known gaps: none.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from hypothesis import example, given
from hypothesis import strategies as st

from gateway.mail.message import Message
from gateway.mail.received import HandedOver, Outside, client_outside, handed_over

INSIDE = ip_network("198.51.100.0/24")
REAL, FORGED = "192.0.2.1", "203.0.113.9"
WORDS = [
    "from", "by", "with", "ESMTPA", "helo=", "HELO", "(", ")", "[", "]", '"', "\\", ";", " ", "\t", "@", "x", "é",
    f"[{FORGED}]", f"(x [{FORGED}])", FORGED, "IPv6:", "::1",
]  # fmt: skip
SAID = st.lists(st.sampled_from(WORDS), max_size=12).map("".join) | st.text(
    st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=80
)
FORMS = [
    "from {said} (rdns.example [{ip}]) by mx.example (Mail) with ESMTP id A1 for <u@example.com>; Mon, 02 Nov 2026 (UTC)",
    'from {said} ([{ip}]) by mx.example with ESMTP for <"a b"@example.com>; Mon, 02 Nov 2026',
    "from {said} ({ip}) by mx.example (10.0.0.1) with Microsoft SMTP Server id 15; Mon, 02 Nov 2026",
    "from rdns.example ([{ip}] helo={said}) by mx.example with esmtp (Exim 4) id A1; Mon, 02 Nov 2026",
    "from [{ip}] (helo={said}) by mx.example with esmtp (Exim 4) id A1; Mon, 02 Nov 2026",
    "from unknown (HELO {said}) ({ip}) by mx.example with SMTP; Mon, 02 Nov 2026",
]


def is_inside(said: HandedOver) -> bool:
    return said.address in INSIDE


@given(st.binary(max_size=400) | SAID.map(str.encode))
def test_any_octets_are_read_or_not(octets: bytes) -> None:
    handed_over(octets)
    client_outside(Message.parse(b"Received: " + octets), is_inside)


@example(1, FORMS[0], f"x (a [{FORGED}]) by y ", b"")
@given(st.integers(0, 3), st.sampled_from(FORMS), SAID, st.binary(max_size=200))
def test_nothing_below_the_first_client_outside_is_believed(inside: int, form: str, said: str, below: bytes) -> None:
    trusted = [form.format(said="relay.example", ip=f"198.51.100.{number + 1}") for number in range(inside)]
    fields = [*trusted, form.format(said=said, ip=REAL), FORMS[0].format(said="forged.example", ip=FORGED)]
    octets = "".join(f"Received: {field}\r\n" for field in fields).encode() + below
    found = client_outside(Message.parse(octets), is_inside)
    assert found.hop == inside + 1
    assert found.client is None or found.client.address == ip_address(REAL)


@given(SAID)
def test_no_walk_ends_without_an_answer_or_a_reason(said: str) -> None:
    found: Outside = client_outside(Message.parse(b"Received: " + said.encode() + b"\r\n\r\n"), is_inside)
    assert (found.client is None) == bool(found.why)
