"""Crowds against a real node: idle connections, slow ones and a flood of connects, and a client that just sends mail.

The figures are printed (``pytest -rP tests/floods``); the bounds are those of a busy machine with two cores.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from node_process import NodeProcess

sys.path.insert(0, str(Path(__file__).parent))
from crowd import address, crowd, descriptors, dial, figures, good_client, greeting, resident

from gateway.mail import limits

CROWD = 5000
SLOW = 30.0
"""Seconds within which each message of the well-behaved client must be delivered; measured are tens of milliseconds, and
seconds where the machine has no time left."""

Start = Callable[..., NodeProcess]


@pytest.fixture(autouse=True)
def many_descriptors() -> Iterator[None]:
    with descriptors(CROWD + 2000):
        yield


def policy() -> str:
    """The packaged policy; only the well-behaved client's rate is not looked at, since it sends more than one would."""
    packaged = Path(__file__).parents[2] / "policies" / "default.yaml"
    found = yaml.safe_load(packaged.read_text(encoding="utf-8"))
    found["checks"]["rate"] = {"exempt": ["127.0.0.2/32"]}
    found["checks"]["greylist"] = {"mode": "off"}
    return yaml.safe_dump(found, sort_keys=False)


def served(heard: list[tuple[float, int]], deferred: int = 0) -> None:
    codes = Counter(code for _, code in heard)
    assert codes[250], figures(heard)
    assert codes[421] <= deferred, figures(heard)
    assert codes.total() == codes[250] + codes[421], figures(heard)
    assert max(seconds for seconds, _ in heard) < SLOW, figures(heard)


def quiet(node: NodeProcess) -> None:
    """No error of ours in the log, no traceback beside it, no worker that died."""
    assert [record for record in node.records if record["level"] in ("error", "critical")] == []
    assert "Traceback" not in node.stderr.read_text()
    assert node.status()["worker_crashes"] == 0


async def test_5000_idle_connections_that_the_limits_allow(start_node: Start) -> None:
    # the node raises its own limit of open files, as it must where it is 1,024
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    node = start_node(settings={"limits": {"sessions": CROWD + 1000}}, policy=policy())
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    alone = await good_client(node.smtp_port, 0.5)
    before, began = resident(node), time.monotonic()
    socks, heard = await crowd(node.smtp_port, CROWD)
    took = time.monotonic() - began
    each = (resident(node) - before) / CROWD
    beside = await good_client(node.smtp_port, 2.0)
    print(f"alone: {figures(alone)}")
    print(f"{CROWD} idle connections in {took:.1f} s, {each / 1024:.1f} KiB each")
    print(f"beside them: {figures(beside)}")
    assert heard == {220: CROWD}
    served(beside)
    assert each < 64 * 1024
    assert not any(readable(sock) for sock in socks), "nobody was cut off meanwhile"
    for sock in socks:
        sock.close()
    await asyncio.to_thread(node.wait, lambda: node.status()["sessions"] == 0, "all sessions are gone")
    quiet(node)


def readable(sock: object) -> bool:
    try:
        return sock.recv(1) is not None  # type: ignore[attr-defined]
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


async def test_5000_idle_connections_at_the_default_limits(start_node: Start) -> None:
    node = start_node(policy=policy())
    began = time.monotonic()
    socks, heard = await crowd(node.smtp_port, CROWD)
    assert set(heard) == {220, 421}
    assert heard[220] >= limits.SESSIONS_PER_WORKER
    # on a machine so busy that the crowd is long in coming, its last ones take the places of its first
    late = time.monotonic() - began > limits.COMMAND_TIMEOUT_CROWDED
    assert late or heard[220] <= 2 * limits.SESSIONS_PER_WORKER
    # the first of them go when they have been silent for so long and somebody asks for their place
    await asyncio.sleep(began + limits.COMMAND_TIMEOUT_CROWDED + 1 - time.monotonic())
    beside = await good_client(node.smtp_port, 2.0)
    print(f"of {CROWD} idle connections {heard[220]} were greeted, {heard[421]} refused")
    print(f"beside them: {figures(beside)}")
    served(beside)
    for sock in socks:
        sock.close()
    quiet(node)


async def test_slow_loris(start_node: Start) -> None:
    settings = {"limits": {"data_rate_window": 1, "command_timeout": 2, "sessions": 3000}}
    node = start_node(settings=settings, policy=policy())
    loop, heard = asyncio.get_running_loop(), Counter[str]()

    async def drip(n: int, opening: bytes, octets: bytes, name: str) -> None:
        sock = await dial(node.smtp_port, address(n))
        assert await greeting(sock) == 220
        last = asyncio.create_task(said_at_last(sock))
        await loop.sock_sendall(sock, opening)
        for n in range(200):
            if last.done():
                break
            try:
                await loop.sock_sendall(sock, octets[n % len(octets) :][:1])
            except ConnectionError:
                break
            await asyncio.sleep(0.5)
        heard[f"{name}: {await last}"] += 1
        sock.close()

    async def said_at_last(sock: object) -> str:
        whole = b""
        try:
            while octets := await loop.sock_recv(sock, 1000):  # type: ignore[arg-type]
                whole += octets
        except ConnectionError:
            pass
        return whole.split(b"\r\n")[-2][:9].decode() if whole else "nothing"

    async def deaf(n: int) -> None:
        sock = await dial(node.smtp_port, address(n), receive_octets=2048)
        sent = 0
        try:
            async with asyncio.timeout(30):
                while True:
                    await loop.sock_sendall(sock, b"HELP\r\n" * 1000)
                    sent += 6000
        except ConnectionError:
            heard["does not read: cut off"] += 1
        except TimeoutError:
            heard["does not read: still there"] += 1
        sock.close()

    envelope = b"EHLO x.example\r\nMAIL FROM:<a@sender.example>\r\nRCPT TO:<user@example.com>\r\nDATA\r\n"
    before = resident(node)
    crowds = [
        *(drip(n, b"", b"EHLO a-very-slow-client.example", "commands") for n in range(400)),
        *(drip(n, envelope, b"Subject: slow\r\n\r\nxxxxxxxxxx\r\n", "content") for n in range(400, 800)),
        *(deaf(n) for n in range(800, 820)),
    ]
    began = time.monotonic()
    slow = asyncio.gather(*crowds)
    beside = await good_client(node.smtp_port, 3.0)
    used = resident(node) - before
    await asyncio.wait_for(slow, 60)
    print(f"beside 820 slow clients: {figures(beside)}; {used / 2**20:.1f} MiB; all ended in {time.monotonic() - began:.1f} s")
    print(dict(heard))
    served(beside)
    assert heard == {"commands: 421 4.4.2": 400, "content: 421 4.4.2": 400, "does not read: cut off": 20}
    assert used < 200 * 2**20
    quiet(node)


async def test_a_flood_of_connects(start_node: Start) -> None:
    node = start_node(policy=policy())
    heard, end = Counter[str](), threading.Event()

    def flood(first: int) -> None:
        """Connects and is gone, with FIN or with RST, from a thousand addresses."""
        done = 0
        while not end.is_set():
            done += 1
            with socket.socket() as sock:
                sock.bind((address(first + done % 1000), 0))
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", done % 2, 0))
                sock.settimeout(10)
                with contextlib.suppress(OSError):
                    sock.connect(("127.0.0.1", node.smtp_port))
        heard["left at once"] += done

    async def visit(n: int) -> None:
        """Connects again and again and waits for the greeting, half of them from one address."""
        while not end.is_set():
            with contextlib.suppress(OSError):
                sock = await dial(node.smtp_port, "127.0.0.9" if n % 2 else address(n))
                heard[str(await greeting(sock))] += 1
                sock.close()

    before, began = resident(node), time.monotonic()
    threads = [threading.Thread(target=flood, args=(first,)) for first in (1000, 3000)]
    for thread in threads:
        thread.start()
    visitors = [asyncio.create_task(visit(n)) for n in range(100)]
    try:
        beside = await good_client(node.smtp_port, 3.0)
    finally:
        end.set()
        for thread in threads:
            await asyncio.to_thread(thread.join)
    took = time.monotonic() - began
    await asyncio.gather(*visitors)
    print(f"beside {heard.total() / took:.0f} connects a second {dict(heard)}: {figures(beside)}")
    print(f"{(resident(node) - before) / 2**20:.1f} MiB more")
    # one may come in the very moment in which a worker is full of those that left: it comes again, and is served
    served(beside, deferred=1 + len(beside) // 10)
    assert heard["left at once"] > 200
    assert resident(node) - before < 200 * 2**20
    quiet(node)
