"""deploy/container/Dockerfile: hadolint says nothing; and, since nothing builds an image here, its stages are read word by
word: what comes into the image that runs, who runs it, and how its health is asked."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from debian import MISSING
from node_process import NodeProcess

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "container"


@dataclass
class Stage:
    base: str
    lines: list[tuple[str, str]] = field(default_factory=list)

    def all(self, word: str) -> list[str]:
        return [rest for each, rest in self.lines if each == word]


def stages() -> dict[str, Stage]:
    """Name -> stage; the arguments before the first FROM are filled in."""
    text = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
    text = re.sub(r"(?m)^\s*#.*\n", "", text).replace("\\\n", " ")
    found: dict[str, Stage] = {}
    values: dict[str, str] = {}
    for line in filter(None, (each.strip() for each in text.splitlines())):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            match = re.fullmatch(r"\$\{(\w+)\} AS (\w+)", rest)
            assert match, line
            stage = found[match[2]] = Stage(values[match[1]])
        elif not found:
            name, _, value = rest.partition("=")
            values[name] = value
        else:
            stage.lines.append((word, rest))
    return found


def test_hadolint_says_nothing() -> None:
    program = Path(sys.executable).parent / "hadolint"
    if not program.exists():
        pytest.skip(f"{MISSING} hadolint (extra deploy)")
    done = subprocess.run([program, FOLDER / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_what_runs_has_no_compiler_and_no_installer() -> None:
    build, node = stages().values()
    # the venv refers to the Python of its base: both have the same, and only the first has a compiler
    assert build.base == "python:3.11-bookworm"
    assert node.base == "python:3.11-slim-bookworm"
    assert node.all("COPY") == ["--from=build /opt/mxgw /opt/mxgw"]
    assert not node.all("ADD")
    (made,) = node.all("RUN")
    assert not re.search(r"\b(apt|apt-get|pip3? install|curl|wget|gcc|make)\b", made)
    assert "rm -rf /usr/local/lib/python3.*/site-packages/*" in made
    assert "python -m venv --without-pip /opt/mxgw" in build.all("RUN")


def test_nobody_special_runs_it() -> None:
    words = [word for word, _ in stages()["node"].lines]
    node = stages()["node"]
    assert node.all("USER") == ["65532:65532"]
    assert words.index("USER") > words.index("RUN")
    assert "RUN" not in words[words.index("USER") :]
    assert node.all("EXPOSE") == ["2525 8025"]
    assert json.loads(node.all("ENTRYPOINT")[0]) == ["/opt/mxgw/bin/mxgw"]
    assert json.loads(node.all("CMD")[0]) == ["run", "--config", "/etc/mxgw/gateway.yaml"]
    assert node.all("STOPSIGNAL") == ["SIGTERM"]


def test_only_what_is_copied_is_sent_to_the_builder() -> None:
    ignore = (FOLDER / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    let = {line[1:] for line in ignore if line.startswith("!")}
    copied = {word for line in stages()["build"].all("COPY") for word in line.split()[:-1]}
    assert copied <= let
    assert "*" in ignore
    assert all((ROOT / name).exists() for name in copied)


def test_its_health_is_the_nodes(start_node: Callable[..., NodeProcess]) -> None:
    (line,) = stages()["node"].all("HEALTHCHECK")
    options, _, command = line.partition(" CMD ")
    assert dict(word.removeprefix("--").split("=") for word in options.split()) == {
        "interval": "10s", "timeout": "3s", "start-period": "60s", "retries": "6",
    }  # fmt: skip
    python, *words = json.loads(command)
    assert python == "/opt/mxgw/bin/python"

    def asked(port: int) -> int:
        mine = [word.replace("127.0.0.1:8025", f"127.0.0.1:{port}") for word in words]
        assert mine != words
        return subprocess.run([sys.executable, *mine], capture_output=True, check=False).returncode

    node = start_node(settings={"workers": 1})
    port = node.admin_port
    assert asked(port) == 0
    node.stop()
    assert asked(port) == 1
