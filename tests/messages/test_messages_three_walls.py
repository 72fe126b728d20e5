"""Every folder beside this file is one message with its world: it must be judged alike at port 25, by ``explain`` and by a
decision table that knows only the findings."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.adapters.clock_system import SystemClock
from gateway.adapters.dns_zone import ZoneResolver
from gateway.adapters.store_memory import MemoryStore
from gateway.delivery.open import open_mailstore
from gateway.delivery.routes import Route, Router
from gateway.delivery.stamp import Identity
from gateway.delivery.url import MailstoreUrl
from gateway.evidence.explain import ExplainRequest, Explanation, explain
from gateway.mail.address import NULL, parse_mailbox
from gateway.mail.finding import Cause, Finding, Outcome, Why
from gateway.mail.limits import WireLimits
from gateway.mail.phase import Phase
from gateway.mail.transaction import Connection, Transaction
from gateway.mail.verdict import Action, Verdict
from gateway.pipeline import Pipeline
from gateway.policy.decide import decide
from gateway.policy.load import load
from gateway.policy.model import Policy
from gateway.ports import Ports
from gateway.reception import Services
from gateway.smtp.listener import SmtpServer, make_listening_socket

HERE = Path(__file__).parent
FOLDERS = sorted(path.name for path in HERE.iterdir() if (path / "msg.eml").exists())
POLICIES = HERE.parents[1] / "policies"


@dataclass
class Journal:
    """An observer that keeps the records."""

    records: list[dict[str, Any]]

    def transaction(self, record: Any) -> None:
        if record["event"] != "session":  # how the test's own session ended
            self.records.append(dict(record))

    def reply(self, *_: Any) -> None: ...

    connection = session_ended = tls_handshake = tls_failure = mailstore_attempt = reply
    greeted = held = mailstore_reply = reply


class World:
    """One folder: its files and a node's inside around them."""

    def __init__(self, name: str, mail: Path) -> None:
        self.folder = HERE / name
        self.facts = yaml.safe_load((self.folder / "facts.yaml").read_text())
        self.expect = yaml.safe_load((self.folder / "expect.yaml").read_text())
        self.octets = (self.folder / "msg.eml").read_bytes()
        self.policy: Policy = load(POLICIES / f"{self.facts['policy']}.yaml")
        self.mail = mail
        self.journal = Journal([])
        self.identity = Identity("mx1.example.net", "mx.example.net")
        self.router = Router([Route(("example.com",), (open_mailstore(MailstoreUrl.parse(f"maildir:{mail}"), "mx1.example.net"),), "test")])

    def pipeline(self) -> Pipeline:
        clock = SystemClock()
        return Pipeline(Ports(ZoneResolver.from_file(self.folder / "zone"), MemoryStore(clock), self.router, clock))

    async def at_the_port(self) -> tuple[str, bytes | None]:
        """Send it by SMTP with the client's address in a PROXY header; the last reply and what reached the Maildir."""
        services = Services(
            self.identity, self.pipeline(), lambda: self.policy, self.router, self.journal, WireLimits(greeting_delay=0)
        )
        server = SmtpServer(services, tls=lambda: None, spool_dir=None)
        sock = make_listening_socket("127.0.0.1", 0)
        port = sock.getsockname()[1]
        await server.start(sock, "test", proxy_trusted=[_network("127.0.0.0/8")])
        try:
            reply = await _send(port, self.facts, self.octets)
        finally:
            await server.drain(5)
        delivered = [path.read_bytes() for path in self.mail.rglob("new/*")]
        return reply, delivered[0] if delivered else None

    async def explained(self) -> Explanation:
        facts = self.facts
        reverse_path = parse_mailbox(facts["mail_from"]) if facts["mail_from"] else NULL
        request = ExplainRequest(
            ip_address(facts["ip"]), facts["helo"], reverse_path, (parse_mailbox(facts["to"]),), self.octets
        )
        return await explain(
            request, pipeline=self.pipeline(), policy=self.policy, route=self.router.route_for, identity=self.identity
        )

    def by_table(self) -> Verdict:
        """Decide from the folder's expected findings alone, phase by phase, as a table would."""
        tx = Transaction("TABLE", Connection("TABLE", ip_address(self.facts["ip"])), 0.0)
        tx = tx.with_findings({name: _finding(name, said) for name, said in self.expect["findings"].items()})
        for phase in Phase:
            verdict = decide(tx, self.policy.default, phase)
            if verdict.effective >= Action.DEFER:
                return verdict
        return verdict


def _network(text: str) -> Any:
    from ipaddress import ip_network

    return ip_network(text)


def _finding(name: str, said: Any) -> Finding:
    facts = dict(said) if isinstance(said, dict) else {"outcome": said}
    outcome = Outcome(facts.pop("outcome"))
    cause = Cause("dns", Why.PROTOCOL) if outcome is Outcome.TEMPERROR else None
    return Finding(name, outcome, "expected", facts, cause)


async def _send(port: int, facts: dict[str, Any], octets: bytes) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def say(line: str) -> str:
        if line:
            writer.write(line.encode() + b"\r\n")
        while True:
            answer = (await asyncio.wait_for(reader.readline(), 20)).decode().rstrip()
            if answer[3:4] != "-":
                return answer

    family = "TCP6" if ":" in facts["ip"] else "TCP4"
    reply = await say(f"PROXY {family} {facts['ip']} 127.0.0.1 40000 25")
    steps = [f"EHLO {facts['helo']}", f"MAIL FROM:<{facts['mail_from']}>", f"RCPT TO:<{facts['to']}>", "DATA"]
    for step in steps:
        if reply[0] not in "23":
            break
        reply = await say(step)
    if reply.startswith("354"):
        wire = octets.replace(b"\r\n.", b"\r\n..")
        writer.write((b"." + wire if wire.startswith(b".") else wire) + b".\r\n")
        reply = await say("")
    writer.close()
    return reply


@pytest.mark.parametrize("name", FOLDERS)
async def test_port_explain_and_table_agree(name: str, tmp_path: Path) -> None:
    world = World(name, tmp_path / "mail")
    expect = world.expect
    reply, delivered = await world.at_the_port()
    told = await world.explained()
    assert int(reply[:3]) == expect["reply"], reply
    assert int(told.reply[:3]) == expect["reply"], told
    # the end of the node may have met the open session, and a reply of 421 has a record of its own
    record = [each for each in world.journal.records if each["event"] != "session"][-1]
    assert record["verdict"] == told.verdict.action.word == expect["verdict"]
    if expect.get("by") != "reception":
        assert record["reason"] == told.verdict.reason == expect["reason"]
        table = world.by_table()
        assert (table.action.word, table.reason) == (expect["verdict"], expect["reason"])
        assert sorted(hit.rule for hit in table.because) == sorted(rule["id"] for rule in record["rules"])
    for check, said in expect["findings"].items():
        word = said["outcome"] if isinstance(said, dict) else said
        assert record["findings"][check]["outcome"] == word, record["findings"][check]
    assert {step.check: step.finding["outcome"] for step in told.steps} == {
        check: found["outcome"] for check, found in record["findings"].items()
    }
    assert (delivered is not None) == (expect["reply"] == 250)
    if delivered is not None:
        _check_octets(world, delivered, told)


def _check_octets(world: World, delivered: bytes, told: Explanation) -> None:
    """Our fields on top, the rest byte for byte less the removed fields."""
    expect = world.expect
    for text in expect.get("fields", []):
        assert text.encode() in delivered
        assert text.encode() in told.fields
    assert list(told.removed) == expect.get("removed", [])
    assert delivered.startswith(b"Received: from ")
    if not expect.get("removed"):
        assert delivered.endswith(world.octets)
    for text in expect.get("kept", []):
        assert text.encode() in delivered
    names = [line.split(b":")[0] for line in told.fields.split(b"\r\n") if line[:1] not in (b"", b" ", b"\t")]
    ours = [line.split(b":")[0] for line in delivered.split(b"\r\n") if line[:1] not in (b"", b" ", b"\t")]
    assert ours[: len(names)] == names


def test_the_folders_cover_each_verdict() -> None:
    verdicts = {yaml.safe_load((HERE / name / "expect.yaml").read_text())["verdict"] for name in FOLDERS}
    assert verdicts == {"accept", "quarantine", "defer", "reject"}
