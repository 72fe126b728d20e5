"""Network namespaces on one bridge, each with addresses of its own, and a way to start ordinary programs inside.

All names begin with ``mxgw-PID-NUMBER-``; namespaces of test runs that are dead are swept away at the next start. Needs root.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from debian import need

_NEWNET = 0x40000000
_HERE = Path("/run/netns")
_OWN = re.compile(r"mxgw-(\d+)-\d+-\w+")
_numbers = itertools.count()
_libc = ctypes.CDLL(None, use_errno=True)


class Network:
    """``with Network({"mx1": ("203.0.113.10/24", "2001:db8::10/64")}) as net: with net.inside("mx1"): ...``"""

    def __init__(self, places: Mapping[str, Sequence[str]], resolver: str = "") -> None:
        self.places = places
        self._resolver = resolver
        self._prefix = f"mxgw-{os.getpid()}-{next(_numbers)}"

    def full(self, place: str) -> str:
        """The namespace's name for ``ip netns``."""
        return f"{self._prefix}-{place}"

    def within(self, place: str) -> tuple[str, ...]:
        """A command's first words that run it there, with the resolver in its /etc/resolv.conf."""
        return (need("ip"), "netns", "exec", self.full(place))

    @contextmanager
    def inside(self, place: str) -> Iterator[None]:
        """Sockets and processes that this thread makes in the block are born there."""
        with open("/proc/thread-self/ns/net", "rb") as back, open(_HERE / self.full(place), "rb") as there:
            _enter(there.fileno())
            try:
                yield
            finally:
                _enter(back.fileno())

    def link(self, place: str, up: bool) -> None:
        """Pull a place's cable, or put it back."""
        _ip("-n", self.full("switch"), "link", "set", place, "up" if up else "down")

    def __enter__(self) -> Network:
        _require()
        sweep()
        try:
            self._build()
        except BaseException:
            self.close()
            raise
        return self

    def _build(self) -> None:
        switch = self.full("switch")
        _ip("netns", "add", switch)
        _ip("-n", switch, "link", "add", "bridge", "type", "bridge", "stp_state", "0")
        _ip("-n", switch, "link", "set", "bridge", "up")
        for place, addresses in self.places.items():
            name = self.full(place)
            _ip("netns", "add", name)
            _ip("-n", switch, "link", "add", place, "type", "veth", "peer", "name", "eth0", "netns", name)
            _ip("-n", switch, "link", "set", place, "master", "bridge", "up")
            for link in ("lo", "eth0"):
                _ip("-n", name, "link", "set", link, "up")
            for address in addresses:
                # nodad: an address that is still looked at cannot be bound
                _ip("-n", name, "address", "add", address, "dev", "eth0", *(["nodad"] if ":" in address else []))
            for wide in ("203.0.113.0/24", "198.51.100.0/24"):
                _ip("-n", name, "route", "replace", wide, "dev", "eth0")
            if self._resolver:
                etc = Path("/etc/netns") / name
                etc.mkdir(parents=True)
                (etc / "resolv.conf").write_text(f"nameserver {self._resolver}\noptions timeout:1 attempts:2\n")

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing of it stays."""
        for place in (*self.places, "switch"):
            _remove(self.full(place))


def sweep() -> None:
    """Remove what test runs left that were killed."""
    for name in [path.name for path in _HERE.iterdir()] if _HERE.is_dir() else []:
        found = _OWN.fullmatch(name)
        if found and not Path("/proc", found[1]).exists():
            _remove(name)


def _remove(name: str) -> None:
    """The namespace with all processes that are still in it."""
    if (_HERE / name).exists():
        for _ in range(20):
            told = subprocess.run([need("ip"), "netns", "pids", name], capture_output=True, text=True, check=False)
            if not (left := [int(pid) for pid in told.stdout.split()]):
                break
            for pid in left:
                if pid != os.getpid():
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        subprocess.run([need("ip"), "netns", "delete", name], check=False)
    shutil.rmtree(Path("/etc/netns") / name, ignore_errors=True)


def _require() -> None:
    need("ip")
    if os.geteuid() != 0:
        pytest.skip("real component missing: network namespaces need root")
    name = f"mxgw-{os.getpid()}-{next(_numbers)}-try"
    tried = subprocess.run([need("ip"), "netns", "add", name], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"real component missing: network namespaces: {tried.stderr.strip()}")
    _remove(name)


def _ip(*words: str) -> None:
    done = subprocess.run([need("ip"), *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr}")


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, _NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
