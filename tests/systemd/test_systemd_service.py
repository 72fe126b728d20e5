"""The command lines of mxgw.service, run as the unit would: sockets passed, words read, watchdog fed, reload, restart."""

from __future__ import annotations

import os
import signal
import smtplib
import socket
import time
from pathlib import Path

import yaml
from service import Service

MESSAGE = b"From: a@sender.example\r\nMessage-ID: <%b@sender.example>\r\nSubject: x\r\n\r\nx\r\n"


def send(host: str, port: int, name: str) -> None:
    with smtplib.SMTP(host, port, "client.example", timeout=20) as client:
        client.sendmail("a@sender.example", ["user@example.com"], MESSAGE % name.encode())


def delivered(service: Service) -> str:
    return "".join(file.read_text() for file in (service.folder / "mail").rglob("new/*"))


def test_a_node_lives_as_the_unit_says(service: Service) -> None:
    service.start(filtered=True)
    service.wait(lambda: service.said("READY=1"), "READY=1")
    assert service.process
    # sockets of systemd, of both families, without any capability
    send("127.0.0.1", service.ports[0], "four")
    send("::1", service.ports[1], "six")
    assert "<four@" in delivered(service)
    assert "<six@" in delivered(service)
    assert "CapEff:\t0000000000000000" in Path(f"/proc/{service.process.pid}/status").read_text()
    # the watchdog gets its food several times in its span
    service.wait(lambda: len(service.said("WATCHDOG=1")) >= 10, "ten pings")
    fed = service.said("WATCHDOG=1")
    assert (fed[-1] - fed[0]) / (len(fed) - 1) < service.watchdog / 2
    # a reload reads the policy again; one that is broken is refused before the node hears of it
    policy = service.folder / "policy.yaml"
    policy.write_text("version: 1\nmode: enforce\nrules: []\n", encoding="utf-8")
    assert service.reload() == 0
    service.wait(lambda: len(service.said("READY=1")) == 2, "READY=1 after the reload")
    (reloading,) = service.said("RELOADING=1")
    assert service.said("READY=1")[0] < reloading < service.said("READY=1")[1]
    assert service.said("MONOTONIC_USEC")
    assert any("enforce" in word for _, word in service.words if word.startswith("STATUS="))
    policy.write_text("version: 1\nmode: enforced\nrules: []\n", encoding="utf-8")
    assert service.reload() == 78
    assert len(service.said("RELOADING=1")) == 1
    policy.write_text("version: 1\nmode: observe\nrules: []\n", encoding="utf-8")
    # the end: it says so, asks for its time, and leaves with 0; who comes meanwhile waits for the next node
    assert service.stop() == 0
    assert service.said("STOPPING=1")
    # sqlite gives its files to their folder's owner where it runs as root, as it may here; the unit runs it as mxgw
    assert {line.split()[1].partition("(")[0] for line in service.refused.read_text().splitlines()} <= {"fchown"}
    asked = [int(word.partition("=")[2]) for _, word in service.words if word.startswith("EXTEND_TIMEOUT_USEC=")]
    assert asked == [20_000_000]
    with socket.create_connection(("127.0.0.1", service.ports[0]), timeout=30) as early:
        service.start()
        assert early.recv(100).startswith(b"220 mx.example.com")
        early.sendall(b"QUIT\r\n")
    service.wait(lambda: len(service.said("READY=1")) == 3, "READY=1 of the second life")
    # nothing that the service manager told us is told to the workers
    environments = [
        Path(f"/proc/{pid}/environ").read_bytes()
        for pid in Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children").read_text().split()
    ]
    assert environments
    assert not any(b"LISTEN_" in text or b"NOTIFY_" in text or b"WATCHDOG_" in text for text in environments)
    assert service.stop() == 0


def test_a_stuck_node_does_not_feed_the_watchdog(service: Service) -> None:
    service.start()
    service.wait(lambda: len(service.said("WATCHDOG=1")) > 2, "pings")
    assert service.process
    os.kill(service.process.pid, signal.SIGSTOP)
    time.sleep(0.3)
    before = len(service.said("WATCHDOG=1"))
    time.sleep(2 * service.watchdog)
    assert len(service.said("WATCHDOG=1")) == before
    os.kill(service.process.pid, signal.SIGCONT)
    service.wait(lambda: len(service.said("WATCHDOG=1")) > before, "pings again")
    assert service.stop() == 0


def test_sockets_that_nobody_would_serve_are_a_fault_of_the_settings(service: Service) -> None:
    settings = yaml.safe_load(service.settings.read_text())
    service.settings.write_text(yaml.safe_dump({**settings, "listeners": settings["listeners"][:1]}))
    service.start()
    assert service.process
    assert service.process.wait(30) == 78
    assert "no listener of the settings takes: ::1 port" in service.output.read_text()
    assert "78" in service.service["RestartPreventExitStatus"][0].split()


def test_wrong_settings_end_the_main_process_with_78_which_is_not_started_again(service: Service) -> None:
    """RestartPreventExitStatus looks at ExecStart alone: a command before it would be tried for ever."""
    service.settings.write_text(service.settings.read_text() + "route: 1\n")
    service.start()
    assert service.process
    assert service.process.wait(30) == 78
    assert "route: unknown key" in service.output.read_text()
    assert "78" in service.service["RestartPreventExitStatus"][0].split()
    assert "ExecStartPre" not in service.service
    assert not service.said("READY=1")


def test_without_a_service_manager_nothing_is_missed(service: Service) -> None:
    settings = yaml.safe_load(service.settings.read_text())
    own = [{"address": "127.0.0.1:0"}, {"address": "[::1]:0"}]
    service.settings.write_text(yaml.safe_dump({**settings, "listeners": own}))
    service.start(sockets=[])
    service.wait(lambda: service.said("READY=1"), "READY=1")
    assert service.stop() == 0
