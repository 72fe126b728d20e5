"""A real node: mail goes through, workers die, it drains, it says how it is."""

from __future__ import annotations

import itertools
import os
import signal
import smtplib
import ssl
import threading

import pytest

MESSAGE = "From: a@example.net\r\nTo: b@example.com\r\nSubject: hello\r\nMessage-ID: <1@example.net>\r\n\r\nbody\r\n"


numbers = itertools.count(1)


def send(node, tls=False):
    # each is another message: the same one at the same time is a retry
    text = MESSAGE.replace("<1@", f"<{next(numbers)}@")
    with smtplib.SMTP("127.0.0.1", node.smtp_port, timeout=60) as client:
        if tls:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            client.starttls(context=context)
        client.sendmail("a@example.net", ["b@example.com"], text)


def test_mail_is_in_the_maildir_and_in_the_record_without_any_dns(node_process):
    send(node_process, tls=True)
    (message,) = node_process.messages()
    assert b"Subject: hello\r\n" in message.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    assert b"X-Gateway-Unknown:" in message
    (record,) = node_process.wait(lambda: node_process.events("transaction"), "a record")
    assert record["result"] == "accepted"
    assert record["tls"].startswith("TLSv1")
    assert record["findings"]["spf"]["outcome"] == "temperror"
    assert node_process.metric("mxgw_transactions_total", result="accepted") == 1
    assert node_process.metric("mxgw_failopen_total", check="spf") == 1
    assert node_process.metric("mxgw_dns_lookups_total") > 0
    assert node_process.metric("mxgw_store_ops_total", result="ok") > 0


def test_pages_of_the_admin_port(node_process):
    assert node_process.get("/healthz") == (200, "alive\n")
    assert node_process.get("/readyz")[0] == 200
    assert node_process.get("/nothing")[0] == 404
    assert node_process.get("/", "POST")[0] == 405
    assert "<h1>mxgw mx.example.com</h1>" in node_process.get("/")[1]
    status = node_process.status()
    assert status["ready"] and len(status["workers"]) == 2
    assert status["policy"]["digest"] == status["workers"][0]["policy"] == status["workers"][1]["policy"]
    assert status["certificate_not_after"] > status["started"]
    assert node_process.metric("mxgw_build_info") == 1
    assert node_process.metric("mxgw_policy_info", digest=status["policy"]["digest"][:8]) == 1
    assert 'mxgw_spf_total{result="pass"} 0.0' in node_process.get("/metrics")[1]


def test_secrets_do_not_show(start_node):
    node = start_node(settings={"secret": "correct horse battery", "workers": 1})
    shown = node.get("/statusz")[1] + node.get("/")[1] + "".join(node.log)
    assert "battery" not in shown


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_node_with_status_0(node_process, number):
    assert node_process.stop(number) == 0
    assert node_process.events("stopped")
    assert node_process.stderr.read_text() == ""
    assert not list((node_process.folder / "state").glob("metrics-*"))


def test_content_in_flight_is_finished_on_sigterm(node_process):
    client = smtplib.SMTP("127.0.0.1", node_process.smtp_port, timeout=60)
    client.ehlo("client.example.net")
    client.mail("a@example.net")
    assert client.rcpt("b@example.com")[0] == 250
    assert client.docmd("DATA")[0] == 354
    client.send(MESSAGE[:40].encode())
    node_process.kill(signal.SIGTERM)
    node_process.wait(lambda: node_process.get("/readyz")[0] == 503, "readiness fails")

    def turned_away():
        # a worker may hear of it a moment later than the page
        other = smtplib.SMTP(timeout=10)
        try:
            return other.connect("127.0.0.1", node_process.smtp_port)[0] == 421
        finally:
            other.close()

    node_process.wait(turned_away, "new clients hear 421")
    client.send((MESSAGE[40:] + ".\r\n").encode())
    assert client.getreply()[0] == 250
    client.close()
    assert node_process.process.wait(30) == 0
    assert len(node_process.messages()) == 1


def test_a_second_signal_ends_at_once(node_process):
    client = smtplib.SMTP("127.0.0.1", node_process.smtp_port, timeout=60)
    client.ehlo("client.example.net")
    client.mail("a@example.net")
    client.rcpt("b@example.com")
    client.docmd("DATA")
    node_process.kill(signal.SIGINT)
    node_process.wait(lambda: node_process.get("/readyz")[0] == 503, "readiness fails")
    assert node_process.stop(signal.SIGINT, 15) == 0
    client.close()


def test_a_killed_worker_is_replaced_and_counted(node_process):
    before = {worker["pid"] for worker in node_process.status()["workers"]}
    victim = min(before)
    os.kill(victim, signal.SIGKILL)

    def replaced():
        now = {worker["pid"] for worker in node_process.status()["workers"] if worker["ready"]}
        return len(now) == 2 and victim not in now

    node_process.wait(replaced, "a new worker is ready")
    assert node_process.metric("mxgw_worker_crashes_total") == 1
    for _ in range(4):
        send(node_process)
    assert len(node_process.messages()) == 4


def test_clients_are_served_while_workers_die(node_process):
    failed: list[BaseException] = []

    def one():
        try:
            send(node_process)
        except (smtplib.SMTPException, OSError) as error:
            failed.append(error)

    os.kill(node_process.status()["workers"][0]["pid"], signal.SIGKILL)
    threads = [threading.Thread(target=one) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # nobody had a session with the dead worker, and queued connections wait for the living one
    assert not failed
    assert len(node_process.messages()) == 10


def test_workers_end_when_the_supervisor_is_killed(node_process):
    pids = [worker["pid"] for worker in node_process.status()["workers"]]
    node_process.kill(signal.SIGKILL)
    node_process.wait(lambda: not any(_alive(pid) for pid in pids), "both workers ended")


def _alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_port_that_is_taken_is_said_and_ends_with_69(node_process, start_node):
    with pytest.raises(AssertionError, match=r"cannot listen on 127\.0\.0\.1 port"):
        start_node(settings={"admin": {"address": f"127.0.0.1:{node_process.admin_port}"}})


def test_log_lines_of_all_processes_are_whole(node_process):
    threads = [threading.Thread(target=lambda: [send(node_process) for _ in range(5)]) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    node_process.wait(lambda: len(node_process.events("transaction")) == 30, "30 whole records")
