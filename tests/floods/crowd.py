"""Thousands of clients in one process: sockets from many addresses of the loopback network, and the figures of a node."""

from __future__ import annotations

import asyncio
import json
import resource
import socket
import statistics
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from node_process import NodeProcess

GOOD_CLIENT = Path(__file__).with_name("good_client.py")


@contextmanager
def descriptors(count: int) -> Iterator[None]:
    """So many file descriptors for this process; fails where the system does not allow them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    room = hard if hard == resource.RLIM_INFINITY or hard >= count else count
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, room))
    except ValueError as error:
        raise AssertionError(f"the hard limit of open files is {hard}, needed are {count}: ulimit -Hn, or be root") from error
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, room))


def address(n: int) -> str:
    """The n-th client: each in a /24 of its own."""
    return f"127.{1 + n // 250}.{1 + n % 250}.1"


async def dial(port: int, source: str, receive_octets: int = 0) -> socket.socket:
    """A connected socket from that address. Raises OSError."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if receive_octets:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_octets)
        sock.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
        sock.bind((source, 0))
        await asyncio.wait_for(asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port)), 30)
    except BaseException:
        sock.close()
        raise
    return sock


async def greeting(sock: socket.socket) -> int:
    """The code of the first reply; 0: closed without a word."""
    try:
        octets = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(sock, 1000), 30)
    except ConnectionError:
        return 0
    return int(octets[:3] or 0)


async def crowd(port: int, count: int, at_once: int = 200) -> tuple[list[socket.socket], Counter[int]]:
    """So many clients that connect, hear the greeting and then say nothing: their sockets, and what they heard."""
    turn, heard, socks = asyncio.Semaphore(at_once), Counter[int](), []

    async def one(n: int) -> None:
        async with turn:
            sock = await dial(port, address(n))
            socks.append(sock)
            heard[await greeting(sock)] += 1

    await asyncio.gather(*(one(n) for n in range(count)))
    return socks, heard


async def good_client(port: int, seconds: float) -> list[tuple[float, int]]:
    """What a well-behaved client lives through meanwhile: seconds and last code of each of its sessions."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(GOOD_CLIENT), str(port), str(seconds), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return [(took, code) for took, code in json.loads(out)]


def figures(heard: list[tuple[float, int]]) -> str:
    """One line of them."""
    took = sorted(seconds for seconds, _ in heard)
    return (
        f"{len(took)} messages, {dict(Counter(code for _, code in heard))}, median {statistics.median(took) * 1000:.0f} ms, "
        f"95 % {took[int(0.95 * (len(took) - 1))] * 1000:.0f} ms, worst {took[-1] * 1000:.0f} ms"
    )


def resident(node: NodeProcess) -> int:
    """Octets of all its workers now."""
    pages = (int(Path(f"/proc/{worker['pid']}/statm").read_text().split()[1]) for worker in node.status()["workers"])
    return sum(pages) * resource.getpagesize()
