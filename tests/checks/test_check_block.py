"""What an emergency block refuses costs nothing more; where it does not refuse, all is looked at as ever."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest

from gateway.adapters.clock_system import SystemClock
from gateway.adapters.dns_zone import ZoneResolver
from gateway.adapters.store_memory import MemoryStore
from gateway.mail.phase import Phase
from gateway.mail.transaction import Connection, Transaction
from gateway.mail.verdict import Action
from gateway.pipeline import Judgement, Pipeline
from gateway.policy.load import load_packaged, load_text
from gateway.policy.model import Policy
from gateway.ports import Ports
from gateway.ports.blocks import Block, NoBlocks
from gateway.ports.dns import Answer
from gateway.ports.mailstore import Known, RecipientStatus

CLIENT = ip_address("192.0.2.7")
SOFT = """
version: 1
rules:
  - {id: friends, at: connect, when: {iprev: pass}, then: accept, through: content}
  - {id: blocks, at: connect, when: {block: fail}, then: reject, reason: blocked}
"""


class Shut(NoBlocks):
    def of_client(self, client: IPv4Address | IPv6Address) -> Block | None:
        return Block(str(client), 2e9, "floods us") if client == CLIENT else None


@dataclass
class Asked:
    """DNS that keeps what it was asked."""

    inner: ZoneResolver = field(default_factory=lambda: ZoneResolver.from_text(""))
    names: list[str] = field(default_factory=list)

    async def lookup(self, name: str, rdtype: str) -> Answer:
        self.names.append(name)
        return await self.inner.lookup(name, rdtype)


class Anybody:
    async def recipient(self, mailbox: object) -> RecipientStatus:
        return RecipientStatus(Known.YES)


async def connect(policy: Policy, client: str = "192.0.2.7") -> tuple[Judgement, list[str]]:
    dns, clock = Asked(), SystemClock()
    pipeline = Pipeline(Ports(dns, MemoryStore(clock), Anybody(), clock, blocks=Shut()))  # type: ignore[arg-type]
    tx = Transaction("T-1", Connection("S", ip_address(client)), clock.now())
    return await pipeline.judge(Phase.CONNECT, tx, policy.default), dns.names


async def test_a_blocked_client_costs_no_question() -> None:
    judged, asked = await connect(load_packaged("default"))
    assert (judged.verdict.effective, judged.verdict.reason) == (Action.REJECT, "blocked")
    assert list(judged.tx.findings) == list(judged.check_seconds) == ["block"]
    assert asked == []


@pytest.mark.parametrize(
    ("policy", "client"),
    [
        (load_packaged("default"), "192.0.2.8"),
        # it only observes: the mail goes through, with all that is found
        (load_packaged("observe"), "192.0.2.7"),
        # an accept rule may still take the block out
        (load_text(SOFT, "soft.yaml"), "192.0.2.7"),
    ],
)
async def test_all_is_looked_at_where_the_block_does_not_refuse_for_good(policy: Policy, client: str) -> None:
    judged, asked = await connect(policy, client)
    assert {"iprev", "rate"} <= set(judged.tx.findings)
    assert asked
