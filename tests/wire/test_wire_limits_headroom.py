"""Memory: what is read from where, and 421 before the greeting above the limit."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from client import connect
from house import house

from gateway.smtp.headroom import Headroom, memory_now

PAGE = os.sysconf("SC_PAGE_SIZE")


def machine(root: Path, files: dict[str, str]) -> Path:
    for name, text in {"proc/self/statm": "900 100 3 1 0 80 0", **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


V2 = {
    "proc/self/cgroup": "0::/system.slice/mxgw.service\n",
    "sys/fs/cgroup/system.slice/mxgw.service/memory.max": "1000\n",
    "sys/fs/cgroup/system.slice/mxgw.service/memory.current": "970\n",
    "sys/fs/cgroup/system.slice/mxgw.service/memory.stat": "anon 7\ninactive_file 20\nactive_file 4\n",
}
V1 = {
    "proc/self/cgroup": "5:cpu,cpuacct:/x\n4:memory:/docker/abc\n0::/\n",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": "2000\n",
    "sys/fs/cgroup/memory/memory.usage_in_bytes": "1000\n",
    "sys/fs/cgroup/memory/memory.stat": "total_inactive_file 100\n",
}
PLAIN = {"proc/meminfo": "MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable:  250 kB\n"}


@pytest.mark.parametrize(
    ("files", "used", "total"),
    [
        (V2, 950, 1000),
        (V1, 900, 2000),
        (PLAIN, 750 * 1024, 1000 * 1024),
        ({**PLAIN, **V2, "sys/fs/cgroup/system.slice/mxgw.service/memory.max": "max\n"}, 750 * 1024, 1000 * 1024),
        ({**PLAIN, **V1, "sys/fs/cgroup/memory/memory.limit_in_bytes": str(2**63 - 4096)}, 750 * 1024, 1000 * 1024),
        ({}, 0, 0),
        ({"proc/self/cgroup": "nonsense\n::\n", "proc/meminfo": "MemTotal: many\n"}, 0, 0),
    ],
)
def test_where_the_numbers_come_from(files: dict[str, str], used: int, total: int, tmp_path: Path) -> None:
    memory = memory_now(machine(tmp_path, files))
    assert (memory.used, memory.total, memory.resident) == (used, total, 100 * PAGE)


def test_on_this_machine_there_are_numbers() -> None:
    memory = memory_now()
    assert memory.resident > 1_000_000
    assert 0 < memory.percent <= 100


@pytest.mark.parametrize(("percent", "short"), [(94, True), (95, False), (96, False), (0, False)])
def test_at_the_share_below_and_above(percent: int, short: bool, tmp_path: Path) -> None:
    assert Headroom(percent, 0, clock=lambda: 0.0, root=machine(tmp_path, V2)).short() is short


@pytest.mark.parametrize(("more", "short"), [(-1, True), (0, False), (1, False)])
def test_at_the_resident_octets_below_and_above(more: int, short: bool, tmp_path: Path) -> None:
    root = machine(tmp_path, PLAIN)
    assert Headroom(0, 100 * PAGE + more, clock=lambda: 0.0, root=root).short() is short


def test_a_look_is_good_for_a_while(tmp_path: Path) -> None:
    now = [0.0]
    headroom = Headroom(90, 0, clock=lambda: now[0], root=machine(tmp_path, V2))
    assert headroom.short()
    (tmp_path / "sys/fs/cgroup/system.slice/mxgw.service/memory.current").write_text("100")
    assert headroom.short()
    now[0] = 1.0
    assert not headroom.short()


async def test_421_before_the_greeting_and_open_sessions_go_on() -> None:
    async with house(memory_octets=2**50) as h, connect(h.port) as c:
        assert (await c.reply()).code == 220
        h.server._headroom = Headroom(0, 1, clock=asyncio.get_running_loop().time)
        async with connect(h.port) as late:
            assert (await late.reply()).status == "421 4.3.2"
            assert (await late.reply()).code == 0
        assert h.watcher.connections == ["accepted", "refused_limit"]
        assert (await c.ask("NOOP")).code == 250
