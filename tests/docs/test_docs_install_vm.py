"""docs/install-vm.md, done line by line in a folder that stands for the machine's root; then a node with its settings."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from certificates import Authority
from debian import need
from node_process import NodeProcess

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "install-vm.md"
NOT_RUN = {
    # half a minute and a network; the image is built in the same way
    "python3.11 -m venv /opt/mxgw": "",
    "/opt/mxgw/bin/pip install .": "",
    # there is no systemd to talk with in a test; what the units say is run by tests/systemd
    "systemctl daemon-reload": "",
    "systemctl reset-failed mxgw.socket mxgw.service": "",
    "systemctl start mxgw.socket mxgw.service": "",
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"))


def lines() -> list[str]:
    return [line for block in blocks("sh") for line in block.splitlines() if line]


def said(*words: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


class Machine:
    """root: its file system. source: the unpacked source, with a certificate beside it."""

    def __init__(self, folder: Path) -> None:
        self.root, self.source = folder / "root", folder / "source"
        self.source.mkdir(parents=True)
        for name in ("deploy", "policies"):
            (self.source / name).symlink_to(ROOT / name)
        pair = Authority().write(folder, "pair", "ecdsa", "mx1.example.net", "mx2.example.net")
        shutil.copyfile(pair["certificate"], self.source / "fullchain.pem")
        shutil.copyfile(pair["key"], self.source / "key.pem")
        (self.root / "etc" / "systemd" / "system").mkdir(parents=True)
        units = self.root / "usr" / "lib" / "systemd" / "system"
        units.mkdir(parents=True)
        need("bird")
        for unit in (Path("/lib/systemd/system/bird.service"), *Path("/lib/systemd/system").glob("systemd-network*")):
            shutil.copyfile(unit, units / unit.name)
        text, secret = blocks("yaml")[0], blocks("ini")[0]
        self.settings = yaml.safe_load(text)
        self.config = self.root / "etc" / "mxgw" / "gateway.yaml"
        self.secrets = dict(line.split("=", 1) for line in secret.splitlines())
        self.environment = {**{k: v for k, v in os.environ.items() if not k.startswith("MXGW_")}, **self.secrets}
        self.not_run: set[str] = set()
        self.node: NodeProcess | None = None

    def place(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def do(self, line: str, node: Callable[[], NodeProcess]) -> None:
        program, *words = shlex.split(line)
        match program:
            case "install":
                groups = ("mxgw", "bird")
                kept = [word for word in words if word != "-g" and word not in groups]
                target = self.place(kept[-1])
                target.parent.mkdir(parents=True, exist_ok=True)
                said("install", *kept[:-1], target, cwd=self.source)
            case "systemd-sysusers":
                said(need(program), f"--root={self.root}", self.place(words[0]))
                assert re.search(r"(?m)^mxgw:", (self.root / "etc" / "passwd").read_text())
            case "systemd-tmpfiles":
                said(need(program), *words[:-1], f"--root={self.root}", self.place(words[-1]))
                self.config.write_text(blocks("yaml")[0], encoding="utf-8")
            case "/opt/mxgw/bin/mxgw":
                words = [str(self.config) if word == "/etc/mxgw/gateway.yaml" else word for word in words]
                assert ": OK; mx1.example.net on 0.0.0.0:25, [::]:25" in said(
                    sys.executable, "-m", "gateway", *words, env=self.environment
                )
            case "systemctl" if words[0] in ("enable", "disable"):
                said(need("systemctl"), f"--root={self.root}", *(word for word in words if word != "--now"))
            case "ln":
                target = self.place(words[-1])
                target.parent.mkdir(parents=True)
                said(program, *words[:-1], target)
                assert target.readlink() == Path("/opt/mxgw/bin/mxgw")
            case "curl":
                text = " ".join(words).replace("127.0.0.1:8025", f"127.0.0.1:{node().admin_port}")
                assert "ready" in said(need("curl"), *text.split())
            case "swaks":
                running = node()
                place = f"127.0.0.1:{running.smtp_port}"
                server = [place if word == "mx1.example.net" else word for word in words]
                assert "250 2.0.0" in said(need("swaks"), *server, "--from", "", "--ehlo", "client.example")
                assert len(running.messages()) == 1
            case "apt-get":
                assert "Inst" in said(program, "--simulate", "--reinstall", *words)
            case _:
                self.not_run.add(line)


def test_the_page_does_what_it_says(start_node: Callable[..., NodeProcess], tmp_path: Path) -> None:
    machine = Machine(tmp_path / "machine")
    running: list[NodeProcess] = []

    def node() -> NodeProcess:
        if not running:
            etc = machine.root / "etc" / "mxgw"
            settings: dict[str, Any] = {
                **machine.settings,
                "listeners": [{"address": "127.0.0.1:0", "name": "smtp4"}, {"address": "[::1]:0", "name": "smtp6"}],
                "tls": {key: str(etc / file) for key, file in machine.settings["tls"].items()},
                "policy": str(etc / machine.settings["policy"]),
                "dns": {"servers": ["127.0.0.1:9"], "timeout": 0.5},
                "workers": 1,
            }
            settings["routes"] = [{"domains": ["example.com"], "mailstore": f"maildir:{tmp_path}/node0/mail"}]
            running.append(start_node(settings=settings, env={"MXGW_SECRET": machine.secrets["MXGW_SECRET"]}))
        return running[0]

    for line in lines():
        machine.do(line, node)
    assert machine.not_run == set(NOT_RUN)
    wants = machine.root / "etc" / "systemd" / "system"
    assert (wants / "sockets.target.wants" / "mxgw.socket").is_symlink()
    assert (wants / "multi-user.target.wants" / "mxgw.service").is_symlink()
    assert (wants / "bird.service.wants" / "mxgw-announce.service").is_symlink()
    assert (wants / "multi-user.target.wants" / "systemd-networkd.service").is_symlink()
    assert not (wants / "network-online.target.wants" / "systemd-networkd-wait-online.service").exists()


def test_the_listeners_of_the_page_are_the_sockets_of_the_unit() -> None:
    unit = (ROOT / "deploy" / "systemd" / "mxgw.socket").read_text(encoding="utf-8")
    streams = re.findall(r"(?m)^ListenStream=(.+)$", unit)
    assert [each["address"] for each in yaml.safe_load(blocks("yaml")[0])["listeners"]] == streams
