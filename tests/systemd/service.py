"""The part of systemd that mxgw.service and mxgw.socket need, over the real unit files of deploy/systemd."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from debian import need

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"
LAUNCH = Path(__file__).parent / "launch.py"
PROGRAM, SETTINGS = "/opt/mxgw/bin/mxgw", "/etc/mxgw/gateway.yaml"


def unit(name: str) -> dict[str, list[str]]:
    """Key -> its values in order; a key stands in one section only."""
    found: dict[str, list[str]] = {}
    for line in (UNITS / name).read_text(encoding="utf-8").splitlines():
        if line and line[0] not in "#[;":
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def _calls(group: str) -> set[str]:
    """The system calls of one of systemd's groups, and of the groups in it."""
    text = subprocess.run(
        [need("systemd-analyze"), "syscall-filter", "--no-pager", group], capture_output=True, text=True, check=True
    ).stdout
    words = {line.strip() for line in text.splitlines()[1:] if line.strip() and not line.strip().startswith("#")}
    found = {word for word in words if not word.startswith("@")}
    for inner in words - found:
        found |= _calls(inner)
    return found


def refused_calls() -> set[str]:
    """What SystemCallFilter of mxgw.service refuses, of all calls that systemd knows."""
    allowed: set[str] = set()
    for value in unit("mxgw.service")["SystemCallFilter"]:
        words = value.removeprefix("~").split()
        calls = {call for word in words for call in (_calls(word) if word.startswith("@") else {word})}
        allowed = allowed - calls if value.startswith("~") else allowed | calls
    return _calls("@known") - allowed - _calls("@default")


class Service:
    """``Service(folder, settings)``: sockets first, then ``start`` as often as wanted. Time runs faster for the watchdog:
    ``watchdog`` seconds in place of those of the unit."""

    def __init__(self, folder: Path, settings: Path, watchdog: float = 0.6) -> None:
        self.service, self.listening = unit("mxgw.service"), unit("mxgw.socket")
        self.folder, self.settings, self.watchdog = folder, settings, watchdog
        self.sockets = [self._open(value) for value in self.listening["ListenStream"]]
        self.ports = [sock.getsockname()[1] for sock in self.sockets]
        self.words: list[tuple[float, str]] = []
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(str(folder / "notify"))
        threading.Thread(target=self._read, daemon=True).start()
        self.process: subprocess.Popen[bytes] | None = None
        self.output = folder / "output"
        self.refused = folder / "refused"

    def _open(self, value: str) -> socket.socket:
        """As the unit says, but on this machine only and on a port of the test."""
        host, port = re.fullmatch(r"\[?([0-9.:]+)\]?:(\d+)", value).groups()  # type: ignore[union-attr]
        assert (host, port) in (("0.0.0.0", "25"), ("::", "25"))
        family = socket.AF_INET6 if host == "::" else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        if family == socket.AF_INET6:
            assert self.listening["BindIPv6Only"] == ["ipv6-only"]
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(("::1" if host == "::" else "127.0.0.1", 0))
        sock.listen(int(self.listening["Backlog"][0]))
        return sock

    def _read(self) -> None:
        while True:
            try:
                octets = self.notify.recv(65536)
            except OSError:
                return
            self.words += [(time.monotonic(), word) for word in octets.decode().splitlines()]

    def command(self, key: str, number: int = 0) -> list[str]:
        """A command line of the unit with the program and the settings of this test."""
        words = shlex.split(self.service[key][number])
        assert words[0] == PROGRAM and words.count(SETTINGS) == 1
        return [sys.executable, "-m", "gateway", *(str(self.settings) if w == SETTINGS else w for w in words[1:])]

    def _environment(self) -> dict[str, str]:
        return {key: value for key, value in os.environ.items() if not key.startswith("MXGW_")}

    def start(self, sockets: Sequence[socket.socket] | None = None, filtered: bool = False) -> None:
        """ExecStart, without any capability. filtered: calls that SystemCallFilter refuses fail with EPERM as they would,
        and stand in ``refused``; strace does that, and is no parent of the node."""
        passed = self.sockets if sockets is None else sockets
        names = ":".join(self.listening["FileDescriptorName"] * len(passed))
        bare = ["--no-new-privs", "--inh-caps=-all", *(["--bounding-set=-all"] if os.geteuid() == 0 else [])]
        fds, command = [sock.fileno() for sock in passed], self.command("ExecStart")
        if filtered:
            assert self.service["SystemCallErrorNumber"] == ["EPERM"]
            calls = ",".join(f"?{call}" for call in sorted(refused_calls()))
            strace = [need("strace"), "-D", "-f", "-qq", "--seccomp-bpf", "-o", str(self.refused)]
            bare += ["--", *strace, "-e", f"inject={calls}:error=EPERM", "-e", f"trace={calls}", "-e", "signal=none"]
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [need("setpriv"), *bare, sys.executable, str(LAUNCH), ",".join(map(str, fds)), names, *command],
                stdout=output, stderr=output, pass_fds=fds,
                env={
                    **self._environment(),
                    "NOTIFY_SOCKET": str(self.folder / "notify"),
                    "WATCHDOG_USEC": str(int(self.watchdog * 1e6)),
                },
            )  # fmt: skip

    def reload(self) -> int:
        """ExecReload: every command, the first failure ends it. Returns its exit code."""
        assert self.process
        for number, line in enumerate(self.service["ExecReload"]):
            if "$MAINPID" in line:
                words = [word.replace("$MAINPID", str(self.process.pid)) for word in shlex.split(line)]
                code = subprocess.run(words, check=False).returncode
            else:
                code = subprocess.run(self.command("ExecReload", number), capture_output=True, check=False).returncode
            if code:
                return code
        return 0

    def said(self, word: str) -> list[float]:
        """When it was said, in seconds."""
        return [when for when, what in list(self.words) if what == word or what.startswith(f"{word}=")]

    def wait(self, what: Callable[[], object], text: str, seconds: float = 30.0) -> None:
        """Until ``what()`` is true."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if what():
                return
            assert self.process is None or self.process.poll() is None or "ended" in text, self.output.read_text()
            time.sleep(0.02)
        raise AssertionError(f"not in {seconds:g} s: {text}\n{self.words}\n{self.output.read_text()}")

    def stop(self) -> int:
        """SIGTERM to the main process, as KillMode=mixed does."""
        assert self.process
        self.process.terminate()
        return self.process.wait(30)

    def end(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.terminate()
            self.process.wait(10)
        for sock in (*self.sockets, self.notify):
            sock.close()
