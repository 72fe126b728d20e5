"""deploy/anycast: real BIRDs that speak BGP over loopback; a route is there exactly while a real node is ready."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from debian import MISSING, need
from node_process import NodeProcess

FOLDER = Path(__file__).parents[2] / "deploy" / "anycast"
ROUTE = "192.0.2.25/32"
UPSTREAM = """\
router id 10.0.0.1;
protocol device { }
protocol bgp node {
    local 127.0.0.1 port %d as 64500;
    neighbor 127.0.0.2 port %d as 64512;
    multihop;
    connect retry time 1;
    connect delay time 1;
    error wait time 1, 2;
    ipv4 { import all; export none; };
}
"""


class Bird:
    """One BIRD in the foreground."""

    def __init__(self, folder: Path, text: str) -> None:
        folder.mkdir()
        self.socket = folder / "ctl"
        (folder / "bird.conf").write_text(text, encoding="utf-8")
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [need("bird"), "-f", "-c", folder / "bird.conf", "-s", self.socket, "-P", folder / "pid"],
                stdout=log, stderr=log,
            )  # fmt: skip

    def ask(self, words: str) -> str:
        return subprocess.run(
            [need("birdc"), "-s", self.socket, words], capture_output=True, text=True, check=False, timeout=10
        ).stdout

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(10)


def until(what: Callable[[], bool], text: str, seconds: float = 40.0) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if what():
            return
        time.sleep(0.05)
    raise AssertionError(f"not in {seconds:g} s: {text}")


def test_bird_takes_it() -> None:
    done = subprocess.run([need("bird"), "-p", "-c", FOLDER / "bird.conf"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_shellcheck_and_systemd_say_nothing(tmp_path: Path) -> None:
    program = Path(sys.executable).parent / "shellcheck"
    if not program.exists():
        pytest.skip(f"{MISSING} shellcheck (extra deploy)")
    subprocess.run([program, FOLDER / "mxgw-announce"], check=True)
    unit = (FOLDER / "mxgw-announce.service").read_text()
    assert "BindsTo=bird.service" in unit
    for program in (Path("/usr/local/sbin/mxgw-announce"), Path("/usr/sbin/birdc")):
        unit = unit.replace(str(program), sys.executable)
    (tmp_path / "mxgw-announce.service").write_text(unit)
    done = subprocess.run(
        [need("systemd-analyze"), "verify", "--man=no", tmp_path / "mxgw-announce.service"],
        capture_output=True, text=True, check=False, env={**os.environ, "SYSTEMD_LOG_LEVEL": "err"},
    )  # fmt: skip
    missing = {"bird.service", "mxgw.service"}
    assert [line for line in done.stderr.splitlines() if not any(unit in line for unit in missing)] == []


@pytest.fixture
def birds(tmp_path: Path) -> Iterator[tuple[Bird, Bird]]:
    """The upstream's, and the node's with the configuration of deploy/anycast; addresses are those of loopback."""
    ports = free_port(), free_port()
    text = (FOLDER / "bird.conf").read_text(encoding="utf-8")
    changes = {
        "define OUR_4 = 10.0.0.11;": "define OUR_4 = 127.0.0.2;",
        "define THEIR_4 = 10.0.0.1;": "define THEIR_4 = 127.0.0.1;",
        "local OUR_4 as OUR_AS;": f"local OUR_4 port {ports[1]} as OUR_AS; multihop; connect retry time 1; connect delay time 1;",
        "neighbor THEIR_4 as THEIR_AS;\n    bfd on;": f"neighbor THEIR_4 port {ports[0]} as THEIR_AS;",
        "log syslog all;": "log stderr all;",
        "protocol bfd { }": "",
    }
    for old, new in changes.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    text = re.sub(r"(?ms)^protocol bgp upstream6 .*", "", text)
    pair = Bird(tmp_path / "upstream", UPSTREAM % ports), Bird(tmp_path / "node-bird", text)
    yield pair
    for bird in pair:
        bird.end()


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_the_route_follows_the_node(
    birds: tuple[Bird, Bird], start_node: Callable[..., NodeProcess], tmp_path: Path
) -> None:
    upstream, own = birds
    until(lambda: "Established" in upstream.ask("show protocols"), "BGP is up")
    assert ROUTE not in upstream.ask("show route")
    port = free_port()
    log = (tmp_path / "announce.log").open("wb")
    announce = subprocess.Popen(
        [FOLDER / "mxgw-announce"], stdout=log, stderr=log,
        env={
            **os.environ, "MXGW_READY": f"http://127.0.0.1:{port}/readyz", "MXGW_EVERY": "0.1",
            "MXGW_BIRDC": f"{need('birdc')} -s {own.socket}",
        },
    )  # fmt: skip
    try:
        settings = {"admin": {"address": f"127.0.0.1:{port}"}, "workers": 1, "limits": {"drain_settle": 3, "drain_timeout": 5}}
        node = start_node(settings=settings)
        until(lambda: ROUTE in upstream.ask("show route"), "the route after the node is ready")
        # the end is announced: the route goes while the node still serves
        node.kill(signal.SIGTERM)
        until(lambda: ROUTE not in upstream.ask("show route"), "no route after SIGTERM")
        assert node.process.wait(30) == 0
        assert [said["seconds"] for said in node.events("drain") if "seconds" in said] == [5]
        # a node that is killed: nobody answers, the route goes too
        node = start_node(settings=settings)
        until(lambda: ROUTE in upstream.ask("show route"), "the route of the second node")
        # the checker ends, the route goes, though the node is well
        announce.terminate()
        assert announce.wait(10) == 0
        until(lambda: ROUTE not in upstream.ask("show route"), "no route without the checker")
        assert node.get("/readyz")[0] == 200
    finally:
        announce.kill()
        announce.wait()
        log.close()
    said = (tmp_path / "announce.log").read_text().split("\n")
    assert said[:-1] == [f"mxgw-announce: {word}" for word in ("disable", "enable", "disable", "enable", "disable")]
