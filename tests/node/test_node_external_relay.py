"""A real node behind a trusted relay: a real name server is asked about the client that the relay's field tells of."""

from __future__ import annotations

from dns_server import NsdServer

from tests.real.debian import need
from tests.real.mail_world import DkimKey, attempt, message, policy, zones

RELAY, CLIENT = "127.0.0.66", "198.51.100.7"
"""The relay itself stands on the block list."""


def through(client: str, octets: bytes, helo: str = "client.example") -> bytes:
    field = f"Received: from {helo} (unknown [{client}])\r\n\tby relay.example with ESMTPS id A1;\r\n"
    return f"{field}\tMon, 02 Nov 2026 10:00:00 +0000\r\n".encode() + octets


def test_mail_through_a_provider_is_judged_by_the_client_behind_it(start_node) -> None:
    need("nsd")
    world = zones(DkimKey())
    world["example"] += f"""
behind        TXT "v=spf1 ip4:{CLIENT} -all"
_dmarc.behind TXT "v=DMARC1; p=reject"
9.100.51.198.dnsbl A 127.0.0.2
"""
    mail = message("ann@behind.example")
    with NsdServer(world) as server:
        node = start_node(
            settings={
                "dns": {"servers": [f"127.0.0.1:{server.port}"], "timeout": 3.0},
                "store": "memory://",
                "workers": 1,
            },
            policy=policy(external_relay={"trusted": [f"{RELAY}/32"]}, greylist={"mode": "all"}),
        )
        heard = {
            client: attempt(
                node.smtp_port, through(client, mail), reverse_path="ann@behind.example", client=RELAY, hello="relay.example"
            ).last
            for client in (CLIENT, "198.51.100.8", "198.51.100.9")
        }
        # the same field from a client that nobody trusts
        stranger = attempt(node.smtp_port, through(CLIENT, mail), reverse_path="ann@behind.example", client="127.0.0.9")
    assert stranger.last[0] == 550
    assert "client" not in stranger.last[1]
    assert heard[CLIENT][0] == 250
    assert heard["198.51.100.8"][0] == 550
    assert "The DMARC policy of behind.example refuses this message (client 198.51.100.8)" in heard["198.51.100.8"][1]
    assert heard["198.51.100.9"][0] == 554
    assert "(client 198.51.100.9)" in heard["198.51.100.9"][1]
    node.wait(lambda: len(node.events("transaction")) == 4, "4 records")
    records = {record["client_ip"]: record for record in node.events("transaction")}
    record = records[CLIENT]
    assert (record["relay_ip"], record["relay_helo"], record["relay_hop"]) == (RELAY, "relay.example", 1)
    assert (record["helo"], record["spf"], record["dmarc"], record["rbl"]) == ("client.example", "pass", "pass", 0)
    assert "client_known" not in record
    assert records["198.51.100.8"]["spf"] == "fail"
    assert records["198.51.100.9"]["findings"]["dnsbl"]["evidence"]["listed"] == ["dnsbl.example"]
    (delivered,) = node.messages()
    fields = delivered.replace(b"\r\n ", b" ").replace(b"\n ", b" ").decode()
    assert f"Received: from relay.example (unknown [{RELAY}])" in fields
    assert f"client-ip={CLIENT};" in fields
    assert "spf=pass smtp.mailfrom=ann@behind.example" in fields
    # a session that has been told of its client is an accepted one, not a balancer's probe
    assert node.metric("mxgw_connections_total", result="accepted") == 4
