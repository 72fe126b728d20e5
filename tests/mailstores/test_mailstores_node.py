"""A real node before mailstores of every kind: what the sender hears, what the record, /statusz and the metrics say."""

from __future__ import annotations

import ssl
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
import trustme
from mail_world import attempt, message, policy, poll

from tests.delivery.standins import Exchange, GoogleWorkspace, Microsoft365, StandIn, ZimbraLmtp, beside
from tests.real.exim import Exim
from tests.real.node_process import NodeProcess
from tests.real.postfix import original

CROWD = 24


def users(domain: str) -> frozenset[str]:
    return frozenset({f"ann@{domain}", f"bob@{domain}"})


@dataclass
class World:
    """The node and what stands behind it, by domain."""

    node: NodeProcess
    stores: dict[str, StandIn]

    def send(self, domain: str, user: str = "ann", client: str = "127.0.0.2") -> tuple[int, str]:
        """What the sender heard in the end."""
        return self.said_and_recorded(domain, user, client)[0]

    def said_and_recorded(
        self, domain: str, user: str = "ann", client: str = "127.0.0.2"
    ) -> tuple[tuple[int, str], dict[str, Any]]:
        """The reply that decided, and the transaction's record."""
        author = f"s{time.monotonic_ns()}@sender.example"
        heard = attempt(
            self.node.smtp_port, message(author), reverse_path=author, to=(f"{user}@{domain}",), client=client
        )
        record = poll(
            lambda: [each for each in self.node.events("transaction") if each["from"] == author], "its record"
        )[0]
        return heard.last, record

    def health(self, domain: str) -> dict[str, Any]:
        """The mailstore's state in /statusz."""
        found: dict[str, Any] = self.node.status()["mailstores"][self.name(domain)]
        return found

    def name(self, domain: str) -> str:
        """The mailstore's name in records and metrics."""
        store = self.stores[domain]
        return f"{'lmtp' if store.lmtp else 'smtp'}://127.0.0.1:{store.port}"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    ca = trustme.CA()
    ca.cert_pem.write_to_path(folder / "ca.pem")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("store.test").configure_cert(tls)
    verified = {"tls": "verify", "ca": "../ca.pem", "verify": "no"}
    options: dict[str, dict[str, Any]] = {
        "wrong.example": {**verified, "name": "other.test"},
        "right.example": {**verified, "name": "store.test"},
        "slow.example": {"sessions": 4, "verify": "no"},
        "absent.example": {"verify": "no"},
    }
    stores = {
        "exchange.example": Exchange(users("exchange.example")),
        "zimbra.example": ZimbraLmtp(users("zimbra.example"), full=frozenset({"bob@zimbra.example"})),
        "m365.example": Microsoft365(users("m365.example")),
        "google.example": GoogleWorkspace(users("google.example"), busy=frozenset({"bob@google.example"})),
        "slow.example": StandIn(users("slow.example"), delay=1.0),
        "quick.example": StandIn(users("quick.example")),
        "wrong.example": StandIn(users("wrong.example"), tls=tls),
        "right.example": StandIn(users("right.example"), tls=tls),
    }
    absent = StandIn(users("absent.example"))
    with beside(absent):
        pass  # now it has a port, where nobody listens
    with beside(*stores.values()):
        world_stores = {**stores, "absent.example": absent}
        routes: list[dict[str, Any]] = [
            {
                "domains": [domain],
                "mailstore": {
                    "url": f"{'lmtp' if store.lmtp else 'smtp'}://127.0.0.1:{store.port}",
                    **options.get(domain, {}),
                },
            }
            for domain, store in world_stores.items()
        ]
        node = NodeProcess(folder / "node", {"routes": routes, "workers": 1}, policy())
        try:
            node.wait_ready()
            yield World(node, world_stores)
        finally:
            node.end()


def test_exchange_refuses_after_the_content_and_the_sender_hears_it(world: World) -> None:
    reply, record = world.said_and_recorded("exchange.example", "nobody")
    assert reply[0] == 550
    assert reply[1].startswith("5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup")
    assert record["result"] == "rejected"
    assert record["ms_reply"].startswith("550 5.1.10 RESOLVER.ADR.RecipientNotFound")
    assert record["mailstore"] == world.name("exchange.example")
    assert world.send("exchange.example")[0] == 250
    assert world.stores["exchange.example"].taken[-1].recipients == ("ann@exchange.example",)


def test_zimbra_over_quota_is_the_senders_452(world: World) -> None:
    reply, record = world.said_and_recorded("zimbra.example", "bob")
    assert (reply[0], reply[1][:16]) == (452, "4.2.2 Over quota")
    assert record["result"] == "deferred"
    assert record["ms_reply"] == "452 4.2.2 Over quota"
    assert world.send("zimbra.example", "nobody")[0] == 550


@pytest.mark.parametrize("where", ["MAIL", "end"])
def test_m365_throttling_reaches_the_sender_as_451_and_ends_by_itself(world: World, where: str) -> None:
    store = world.stores["m365.example"]
    assert isinstance(store, Microsoft365)
    assert world.send("m365.example")[0] == 250  # and the recipient is known from now on
    store.throttled = where
    try:
        for _ in range(4):
            reply, record = world.said_and_recorded("m365.example")
            assert reply[0] == 451
            assert reply[1].startswith("4.7.500 Server busy. Please try again later from [192.0.2.9].")
            assert record["result"] == "deferred"
            assert record["ms_reply"].startswith("451 4.7.500 Server busy")
    finally:
        store.throttled = ""
    assert world.health("m365.example")["up"]
    assert world.send("m365.example")[0] == 250


def test_m365_throttling_at_rcpt_is_never_an_unknown_recipient(world: World) -> None:
    store = world.stores["m365.example"]
    assert isinstance(store, Microsoft365)
    store.throttled = "RCPT"
    try:
        reply, record = world.said_and_recorded("m365.example", "bob")
    finally:
        store.throttled = ""
    assert reply[0] == 451
    assert reply[1].startswith("4.")
    assert "451 4.7.500" in record["findings"]["recipient"]["cause"]["detail"]
    assert world.send("m365.example", "bob")[0] == 250
    reply = world.send("m365.example", "nobody")
    assert (reply[0], reply[1][:5]) == (550, "5.1.1")


def test_google_rate_limit_and_a_busy_mailbox_are_451(world: World) -> None:
    store = world.stores["google.example"]
    assert isinstance(store, GoogleWorkspace)
    assert world.send("google.example")[0] == 250
    store.rate = "end"
    try:
        reply, record = world.said_and_recorded("google.example")
    finally:
        store.rate = ""
    assert reply[0] == 451
    assert reply[1].startswith("4.7.28 [192.0.2.9] Our system has detected an unusual rate of unsolicited mail")
    assert record["ms_reply"].startswith("421 4.7.28")
    assert world.send("google.example", "bob")[0] == 451  # 450 4.2.1 to the callout
    assert world.send("google.example")[0] == 250


def test_certificate_of_another_name_is_451_and_nothing_goes_in_clear(world: World) -> None:
    reply, record = world.said_and_recorded("wrong.example")
    assert (reply[0], reply[1][:5]) == (451, "4.4.1")
    assert record["result"] == "deferred"
    assert record["ms_cause"]["port"] == "mailstore"
    assert "certificate is not valid for 'other.test'" in record["ms_cause"]["detail"]
    assert set(world.stores["wrong.example"].commands) == {"EHLO mx.example.com", "STARTTLS"}
    assert world.node.metric("mxgw_tls_handshakes_total", side="out", result="handshake_error") >= 1


def test_certificate_of_the_right_name(world: World) -> None:
    assert world.send("right.example")[0] == 250
    assert world.stores["right.example"].taken[0].encrypted
    assert set(world.stores["right.example"].in_clear) == {"EHLO mx.example.com", "STARTTLS"}


def test_a_mailstore_that_is_down_shows_and_comes_back_without_a_restart(world: World) -> None:
    store, name = world.stores["absent.example"], world.name("absent.example")
    for _ in range(4):
        reply, record = world.said_and_recorded("absent.example")
        assert (reply[0], reply[1][:5]) == (451, "4.4.1")
    assert record["ms_cause"]["why"] == "overload"  # nobody waits for it any more
    assert record["ms_cause"]["detail"].startswith("down: ")
    shown = poll(
        lambda: not world.health("absent.example")["up"] and world.health("absent.example"), "/statusz shows it"
    )
    assert shown["failures"] >= 3
    assert "refused" in shown["detail"]
    assert 0 <= shown["retry_in"] <= 36
    assert world.node.metric("mxgw_mailstore_up", mailstore=name) == 0
    assert world.node.get("/readyz")[0] == 200  # the node itself is well: the other nodes would fare no better
    assert world.node.metric("mxgw_mailstore_attempts_total", mailstore=name, result="overload") >= 1
    with beside(store):
        poll(lambda: world.health("absent.example")["up"], "a probe has found it")
        assert world.send("absent.example")[0] == 250
        poll(lambda: world.node.metric("mxgw_mailstore_up", mailstore=name) == 1, "the metric follows")
    said = [each["message"] for each in world.node.records if each["event"] == "mailstore" and name in each["message"]]
    assert len(said) == 2
    assert "is down: " in said[0]
    assert said[1] == f"{name} is up again"


def test_a_slow_mailstore_takes_its_sessions_only_and_other_routes_are_as_quick_as_before(world: World) -> None:
    """Figures: 24 senders stand before 4 sessions that take 1 s a message; the other route does not feel them."""

    def seconds(client: str) -> float:
        started = time.monotonic()
        assert world.send("quick.example", client=client)[0] == 250
        return time.monotonic() - started

    seconds("127.0.0.9")
    alone = [seconds("127.0.0.9") for _ in range(8)]
    slow = world.stores["slow.example"]
    with ThreadPoolExecutor(CROWD) as pool:
        crowd = [pool.submit(world.send, "slow.example", client=f"127.0.0.{20 + n}") for n in range(CROWD)]
        poll(lambda: slow.connections == 4 and world.health("slow.example")["waiting"] > 0, "they wait", pause=0.05)
        beside_it = [seconds("127.0.0.9") for _ in range(8)]
        assert sum(not each.done() for each in crowd) > 0, "they still waited"
        assert [each.result()[0] for each in crowd] == [250] * CROWD
    print(
        f"median {statistics.median(alone):.3f} s alone, {statistics.median(beside_it):.3f} s beside {CROWD} that wait"
    )
    assert slow.connections == 4
    assert statistics.median(beside_it) < statistics.median(alone) + 0.5


def test_through_a_node_into_a_real_exim(tmp_path: Any) -> None:
    exim = Exim()
    node = NodeProcess(
        tmp_path / "node",
        {"routes": [{"domains": ["example.com"], "mailstore": f"smtp://127.0.0.1:{exim.port}"}], "workers": 1},
        policy(),
    )
    try:
        node.wait_ready()
        octets = message(body=b".\r\n..x\r\n\xe9\xff\r\n.end\r\n")
        heard = attempt(node.smtp_port, octets, to=("user@example.com", "nobody@example.com"))
        assert [code for code, _ in heard.rcpt] == [250, 550]
        assert heard.end[0] == 250
        delivered = original(poll(exim.messages, "Exim has it")[0])
        assert delivered.endswith(octets)
        assert b"\r\nAuthentication-Results: " in delivered[: -len(octets)]
    finally:
        node.end()
        exim.close()
