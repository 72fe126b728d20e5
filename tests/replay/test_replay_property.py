"""What was recorded comes out again, whatever clients, DNS, store and mailstore did: verdict, rules, findings, replies."""

from __future__ import annotations

import asyncio

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from replay_world import CONTENT, POLICY, Facts, World

from gateway.node.replaying import replay_lines

ADDRESSES = ("user@example.com", "nobody@example.com", "later@example.com", "user@quiet.example", "user@other.example",
             "user@foreign.example", "a%b@example.com")  # fmt: skip
RELAY = "203.0.113.5"
RELAYED = POLICY.replace("checks:\n", "checks:\n  external_relay: {trusted: [203.0.113.0/24]}\n", 1)
BEHIND = b"Received: from client.sender.example (x [192.0.2.%d]) by relay.example with ESMTP; x\r\n"
FACTS = st.builds(
    Facts,
    client=st.sampled_from(["192.0.2.10", "192.0.2.20", "192.0.2.66", "198.51.100.7", "2001:db8::7", RELAY]),
    helo=st.sampled_from(["client.sender.example", "[192.0.2.20]", "localhost", "x.dead.example", "mx.example.com", "é"]),
    path=st.sampled_from(["ann@sender.example", "x@bank.example", "a@dead.example", "b@none.example", ""]),
    to=st.lists(st.sampled_from(ADDRESSES), min_size=0, max_size=4),
    content=st.sampled_from(
        [CONTENT, BEHIND % 10 + CONTENT, BEHIND % 66 + CONTENT, CONTENT.replace(b"sender.example", b"bank.example"), b"", b"\r\n\r\n", b"Received: x\r\n" * 120 + CONTENT,
         b"DKIM-Signature: v=1; a=rsa-sha256; d=dead.example; s=s; h=from; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AA==\r\n" + CONTENT]
    ),
    tls=st.booleans(),
    early=st.booleans(),
    prdr=st.booleans(),
    delivered=st.sampled_from(["delivered", "deferred", "refused"]),
    store=st.booleans(),
    client_known=st.booleans(),
    end=st.sampled_from(["content", "content", "gone", "bare", "left"]),
    blocked=st.booleans(),
)  # fmt: skip


def lived(world: World, sessions: list[Facts]) -> None:
    async def run() -> None:
        for facts in sessions:
            await world.run(facts)

    asyncio.run(run())


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(FACTS, min_size=1, max_size=3), st.booleans())
def test_what_was_recorded_comes_out_again(sessions: list[Facts], content: bool) -> None:
    world = World(content=content, policy_text=RELAYED)
    lived(world, sessions)
    outcome = replay_lines(world.lines)
    assert not outcome.faults
    for one in outcome.replayed:
        assert not one.differences, (one.differences, one.recording.record, one.record)
        assert not one.unasked
    assert len(outcome.replayed) == len(world.records)
