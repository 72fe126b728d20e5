"""Words to the service manager over a real datagram socket: named and abstract; the watchdog is fed only while all is well."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
from collections.abc import Iterator

import pytest

from gateway.node.systemd import ServiceManager


@pytest.fixture(params=["named", "abstract"])
def manager(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, dict[str, str]]]:
    """The service manager's end, and the environment that it gives."""
    with tempfile.TemporaryDirectory(prefix="mxgw-") as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours:
        place = f"{folder}/notify" if request.param == "named" else f"@mxgw-test-{os.getpid()}"
        ours.bind(place.replace("@", "\0"))
        ours.setblocking(False)
        yield ours, {"NOTIFY_SOCKET": place, "WATCHDOG_USEC": "300000", "WATCHDOG_PID": str(os.getpid()), "HOME": "/"}


def heard(ours: socket.socket) -> list[str]:
    words: list[str] = []
    while True:
        try:
            words += ours.recv(65536).decode().split("\n")
        except BlockingIOError:
            return words


async def test_the_watchdog_is_fed_while_all_is_well(manager: tuple[socket.socket, dict[str, str]]) -> None:
    ours, environ = manager
    well = True
    one = ServiceManager.from_environment(environ)
    assert environ == {"HOME": "/"}
    telling = asyncio.create_task(one.tell(lambda: well, lambda: "41 sessions"))
    words: list[str] = []
    while words.count("WATCHDOG=1") < 3:
        await asyncio.sleep(0.05)
        words += heard(ours)
    well = False
    await asyncio.sleep(0.2)
    heard(ours)
    words = []
    while words.count("STATUS=41 sessions") < 3:
        await asyncio.sleep(0.05)
        words += heard(ours)
    assert "WATCHDOG=1" not in words
    telling.cancel()


async def test_a_watchdog_for_another_process_is_not_fed(manager: tuple[socket.socket, dict[str, str]]) -> None:
    ours, environ = manager
    telling = asyncio.create_task(
        ServiceManager.from_environment({**environ, "WATCHDOG_PID": "1"}).tell(lambda: True, lambda: "x")
    )
    words: list[str] = []
    while not words:
        await asyncio.sleep(0.05)
        words += heard(ours)
    assert words == ["STATUS=x"]
    telling.cancel()


async def test_one_that_is_not_there_is_no_fault() -> None:
    for environ in ({}, {"NOTIFY_SOCKET": "/nowhere/notify"}):
        one = ServiceManager.from_environment(dict(environ))
        one.reloading()
        one.ready("policy")
        one.stopping(90)
