"""No name server answers: mail goes on, marked as not known; nobody is refused for what we could not ask."""

from __future__ import annotations

import socket
import time

from dns_server import NsdServer
from mail_world import NAMELESS, attempt, message, policy, poll

FIELD = b"X-Gateway-Unknown:"


def unfolded(octets):
    return octets.replace(b"\r\n", b"\n").replace(b"\n ", b" ")


def test_a_closed_port(start_node):
    node = start_node(policy=policy())  # its DNS is a port where nobody listens
    heard = attempt(node.smtp_port, message("boss@bank.example"), client=NAMELESS)
    assert heard.last[0] == 250, heard.last
    (delivered,) = node.messages()
    text = unfolded(delivered)
    assert FIELD in text
    for result in (b"spf=temperror", b"dmarc=temperror", b"iprev=temperror"):
        assert result in text
    record = poll(lambda: node.events("transaction"), "a record")[0]
    assert "dmarc" in record["unknown"]
    assert record["findings"]["spf"]["cause"]["port"] == "dns"
    assert node.metric("mxgw_failopen_total") > 0


def test_a_server_that_swallows_every_question(start_node):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        node = start_node(
            settings={"dns": {"servers": [f"127.0.0.1:{silent.getsockname()[1]}"], "timeout": 0.5}}, policy=policy()
        )
        begun = time.monotonic()
        heard = attempt(node.smtp_port, message())
        assert heard.last[0] == 250, heard.last
        # a client waits some minutes for each of our replies (RFC 5321 section 4.5.3.2); half of one is plenty
        assert time.monotonic() - begun < 45
    assert FIELD in node.messages()[0]
    record = poll(lambda: node.events("transaction"), "a record")[0]
    assert record["spf"] == record["dmarc"] == "temperror"


def test_a_server_that_dies_and_comes_back(start_node, world_zones, name_server):
    settings = {"dns": {"servers": [f"127.0.0.1:{name_server.port}"], "timeout": 0.5}}
    node = start_node(settings=settings, policy=policy())
    spoofed = message("boss@bank.example")

    def end():
        return attempt(node.smtp_port, spoofed, reverse_path="boss@bank.example", client=NAMELESS).last[0]

    name_server.stop()
    assert end() == 250
    assert FIELD in node.messages()[0]
    with NsdServer(world_zones, name_server.port):
        poll(lambda: end() == 550, "DMARC refuses it again", seconds=60, pause=0.5)


def test_a_policy_that_would_rather_wait_defers(start_node):
    text = policy().replace("dns: proceed", "dns: defer")
    assert "dns: defer" in text
    node = start_node(policy=text)
    code, said = attempt(node.smtp_port, message()).last
    assert code == 451, said
    assert node.messages() == []
