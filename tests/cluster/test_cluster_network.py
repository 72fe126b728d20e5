"""Namespaces are gone afterwards, also those of a test run that was killed."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from network import Network

PLACES = {"left": ("203.0.113.10/24", "2001:db8::10/64"), "right": ("203.0.113.20/24", "2001:db8::20/64")}
KILLED = """
import os, signal, sys
sys.path[:0] = sys.argv[1:]
from network import Network
net = Network({"left": ("203.0.113.10/24",)}).__enter__()
print(net.full("left"), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_places_reach_each_other_and_nothing_stays() -> None:
    with pytest.raises(ZeroDivisionError), Network(PLACES) as net:
        for address in ("203.0.113.10", "2001:db8::10"):
            with net.inside("left"):
                listening = socket.create_server((address, 0), family=_family(address))
            with net.inside("right"):
                socket.create_connection(listening.getsockname()[:2], 5).close()
            listening.close()
        with net.inside("right"):
            sleeping = subprocess.Popen(["sleep", "100"])
        raise ZeroDivisionError
    assert sleeping.wait(10) != 0, "what was left inside was ended"
    assert not (Path("/run/netns") / net.full("left")).exists()


def test_a_killed_run_is_swept_away() -> None:
    folders = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "real")]
    with Network({}):
        pass  # skips here, not below
    done = subprocess.run([sys.executable, "-c", KILLED, *folders], capture_output=True, text=True, check=False)
    left = done.stdout.strip()
    assert left, done.stderr
    assert (Path("/run/netns") / left).exists()
    with Network({}):
        assert not (Path("/run/netns") / left).exists()


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET
