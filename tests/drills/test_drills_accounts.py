"""The account of a drill is honest: what is missing, there twice, refused or left over is told, and the command leaves
with 1. Against a real node and its Maildir."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from node_process import NodeProcess

from gateway.cli.main import main

POLICY = """\
version: 1
mode: enforce
checks: {greylist: {mode: "off"}, iprev: {enabled: false}, helo: {enabled: false}, spf: {enabled: false}}
rules:
  - {id: shut, at: rcpt, when: {recipient: "shut@example.com"}, then: reject, reason: blocked}
outage: {dns: proceed, store: proceed, mailstore: defer}
"""


class Operator:
    """``mxgw drill NAME`` at one node; faults are commands."""

    def __init__(self, node: NodeProcess) -> None:
        self.node = node
        self.box = node.maildir / "example.com" / "drill"
        self.box.parent.mkdir(parents=True)

    def drill(self, name: str, *words: str, to: str = "drill@example.com") -> tuple[int, str]:
        """Exit code and output."""
        command = [sys.executable, "-m", "gateway", "drill", name, "--config", str(self.node.config), "--to", to]
        flow = [
            "--rate",
            "20",
            "--calm",
            "0.5",
            "--during",
            "0.5",
            "--retry",
            "0.3",
            "--patience",
            "3",
            "--settle",
            "1",
        ]
        place = ["--send-to", f"127.0.0.1:{self.node.smtp_port}", "--helo", "client.example"]
        count = ["--count", f"maildir:{self.box}"]
        done = subprocess.run(
            [*command, *flow, *place, *count, *words], capture_output=True, text=True, timeout=100, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    def account(self, name: str, *words: str) -> tuple[int, dict[str, Any]]:
        """Exit code and figures."""
        code, said = self.drill(name, *words, "--output", "json")
        assert "{\n" in said, said
        return code, json.JSONDecoder().raw_decode(said[said.index("{\n") :])[0]


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    node = NodeProcess(tmp_path_factory.mktemp("node") / "one", {"workers": 1}, policy=POLICY)
    try:
        node.wait_ready()
        yield Operator(node)
    finally:
        node.end()


def newest(box: Path) -> str:
    return f'"$(ls -dt {box}/new/* | head -1)"'


def test_nothing_wrong_is_zero_and_text_for_people(operator: Operator) -> None:
    code, said = operator.drill("node-drained", "--fault", "true", "--mend", "true")
    assert code == 0, said
    rows = dict(line.split(None, 1) for line in said.splitlines() if line.startswith(("sent", "deliv", "lost", "dupl")))
    assert (rows["lost"], rows["duplicated"]) == ("0", "0")
    assert int(rows["sent"]) == int(rows["delivered"]) == len(list(operator.box.glob("new/*"))) > 10


def test_what_is_missing_or_there_twice_is_told(operator: Operator) -> None:
    (operator.box / "cur").mkdir(parents=True, exist_ok=True)
    code, told = operator.account("node-drained", "--fault", f"rm {newest(operator.box)}", "--mend", "true")
    assert (code, told["lost"], told["duplicated"]) == (1, 1, 0), told
    copy = f"cp {newest(operator.box)} {operator.box}/cur/twice:2,S"
    code, told = operator.account("node-drained", "--fault", copy, "--mend", "true")
    assert (code, told["lost"], told["duplicated"]) == (1, 0, 1), told
    # what stands there from an older drill is not counted
    code, told = operator.account("node-drained", "--fault", "true", "--mend", "true")
    assert (code, told["lost"], told["duplicated"]) == (0, 0, 0), told


def test_what_nobody_takes_is_told(start_node: Callable[..., NodeProcess]) -> None:
    operator = Operator(start_node(settings={"workers": 1}, policy=POLICY))
    stop = (
        f"kill -STOP {operator.node.process.pid}; kill -KILL $(cat /proc/{operator.node.process.pid}/task/*/children)"
    )
    code, told = operator.account("all-down", "--fault", stop, "--mend", "true")
    operator.node.process.kill()
    assert code == 1
    assert told["given_up"] > 0
    assert told["lost"] == told["duplicated"] == 0, told


def test_a_drill_that_did_not_happen_is_no_success(operator: Operator) -> None:
    code, told = operator.account("certificate-swapped", "--fault", "true")
    assert (code, told["lost"]) == (1, 0)
    assert "no other certificate" in told["wrong"][0]
    code, told = operator.account("policy-fault", "--fault", "echo pushed")
    assert code == 0, told


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("--to", "shut@example.com"), 69, "no message was accepted before the fault: 554"),
        (("--fault", "false"), 69, "false: left with 1"),
        ((), 64, "nobody presses Enter"),
    ],
)
def test_drills_that_cannot_go_on(operator: Operator, words: tuple[str, ...], code: int, text: str) -> None:
    left, said = operator.drill("node-drained", *words)
    assert (left, text in said) == (code, True), said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("--count", "mbox:/x"), 64, "maildir:, imap:// or imaps://"),
        (("--count", "maildir:/no/such/box"), 69, "is no folder"),
        (("--count", "imap://127.0.0.1"), 64, "imap://user@host"),
        (("--count", "imap://x@127.0.0.1:1"), 69, "refused"),
        (("--send-to", "nonsense"), 64, "--send-to"),
        (("--rate", "0"), 64, "--rate"),
        (("--from", "no address"), 64, "not an address"),
        (("--to", "no address"), 64, "not an address"),
    ],
)
def test_mistakes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], code: int, text: str
) -> None:
    config = tmp_path / "gateway.yaml"
    config.write_text("routes: [{domains: [example.com], mailstore: maildir:/nowhere}]\n", encoding="utf-8")
    usual = ["--config", str(config), "--to", "drill@example.com", "--count", f"maildir:{tmp_path}"]
    left = main(["drill", "node-drained", *usual, *words])
    said = capsys.readouterr().err
    assert (left, text in said) == (code, True), said


def test_the_list_names_them_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["drill", "list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 11
    assert main(["drill", "node-drained"]) == 64
