"""The units by systemd's own tools: keys, exposure, user, folders; and that times and figures fit the node's."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from debian import need
from service import PROGRAM, UNITS, refused_calls, unit

from gateway.config.limits_section import LimitsSettings

MOST = 2.0


def said(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_units_are_sound(tmp_path: Path) -> None:
    for file in UNITS.glob("mxgw.*"):
        # the program has another place here; that it can be executed is looked at too
        (tmp_path / file.name).write_text(file.read_text().replace(PROGRAM, sys.executable), encoding="utf-8")
    units = [str(tmp_path / name) for name in ("mxgw.service", "mxgw.socket")]
    # faults are told, but the exit code is 0
    assert said(need("systemd-analyze"), "verify", "--man=no", *units) == ""


def test_the_service_is_exposed_to_little() -> None:
    text = said(need("systemd-analyze"), "security", "--offline=true", "--no-pager", str(UNITS / "mxgw.service"))
    (score,) = re.findall(r"Overall exposure level for mxgw.service: ([0-9.]+)", text)
    assert float(score) < MOST, text


def test_calls_that_no_node_needs_are_refused() -> None:
    refused = refused_calls()
    assert {"mount", "ptrace", "bpf", "init_module", "setuid", "chown", "sched_setaffinity", "reboot"} <= refused
    # prlimit64: room for sessions among the open files
    assert not refused & {"accept4", "openat", "clone3", "execve", "prlimit64", "kill", "epoll_wait"}


def test_user_and_folders_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "var" / "lib").mkdir(parents=True)
    said(need("systemd-sysusers"), f"--root={tmp_path}", str(UNITS / "mxgw.sysusers.conf"))
    assert re.search(r"(?m)^mxgw:.*:/var/lib/mxgw:/usr/sbin/nologin$", (tmp_path / "etc" / "passwd").read_text())
    assert unit("mxgw.service")["User"] == ["mxgw"]
    said(need("systemd-tmpfiles"), "--create", f"--root={tmp_path}", str(UNITS / "mxgw.tmpfiles.conf"))
    for folder in ("etc/mxgw", "etc/mxgw/tls", "var/lib/mxgw"):
        assert (tmp_path / folder).stat().st_mode & 0o7777 == 0o750, folder
    shutil.rmtree(tmp_path / "etc")


def test_a_crash_is_tried_for_ever_and_wrong_settings_close_the_socket() -> None:
    """A client at the socket starts a failed service at once, and again: only the limit of starts ends that."""
    service = unit("mxgw.service")
    (restart,), (span,), (burst,) = (service[key] for key in ("RestartSec", "StartLimitIntervalSec", "StartLimitBurst"))
    assert float(restart.rstrip("s")) * int(burst) > float(span.rstrip("s"))
    # a start that fails takes a second or two
    assert float(span.rstrip("s")) / int(burst) > 3
    assert unit("mxgw.service")["Requires"] == ["mxgw.socket"]


def test_journald_drops_nothing() -> None:
    """Its own limit is 10,000 lines in 30 s, which one worker can write."""
    assert unit("mxgw.service")["LogRateLimitIntervalSec"] == ["0"]


def test_the_node_is_given_the_time_it_takes() -> None:
    service = unit("mxgw.service")
    limits = LimitsSettings()
    assert float(service["TimeoutStopSec"][0].rstrip("s")) >= limits.drain_settle + limits.drain_timeout + 20
    assert service["Type"] == ["notify"]
    assert {"64", "78"} == set(service["RestartPreventExitStatus"][0].split())
