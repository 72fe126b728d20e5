"""docs/mailstores/dovecot.md with a real Dovecot: mail flows by LMTP with TLS, XCLIENT is heard, the firewall's rules hold."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from recipe import blocks, settings, with_names

from gateway.cli.main import main
from tests.real.certificates import Authority
from tests.real.debian import need
from tests.real.dovecot import Dovecot
from tests.real.mail_world import attempt, message, policy, poll
from tests.real.node_process import NodeProcess

PAGE = "dovecot.md"


@contextmanager
def world(folder: Path) -> Iterator[tuple[NodeProcess, Dovecot]]:
    authority = Authority()
    (folder / "ca.pem").write_bytes(authority.certificate)
    certificate = authority.write(folder, "mailstore", "ecdsa", "mail.internal.example.com")
    names = {
        "/etc/dovecot/mailstore.crt": certificate["certificate"],
        "/etc/dovecot/mailstore.key": certificate["key"],
        "address = 10.1.0.6": "address = 127.0.0.1",
        "port = 24": "port = @PORT@",
        "192.0.2.10 192.0.2.11": "127.0.0.1",
    }
    store = Dovecot(extra=with_names(blocks(PAGE)["/etc/dovecot/conf.d/99-gateway.conf"], names))
    try:
        names = {"10.1.0.6:24": f"127.0.0.1:{store.port}", "/etc/mxgw/mailstore-ca.pem": str(folder / "ca.pem")}
        text = with_names(blocks(PAGE)["gateway.yaml"], names)
        node = NodeProcess(folder / "node", {**settings(text), "workers": 1}, policy())
        try:
            node.wait_ready()
            yield node, store
        finally:
            node.end()
    finally:
        store.close()


def test_mail_flows_by_lmtp_over_tls_and_dovecot_hears_of_the_client(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    octets = message()
    with world(tmp_path) as (node, store):
        heard = attempt(node.smtp_port, octets, to=("user@example.com", "nobody@example.com", "other@example.com"))
        assert [code for code, _ in heard.rcpt] == [250, 550, 250], heard.rcpt
        assert heard.rcpt[1][1].startswith("5.1.1")
        assert heard.end[0] == 250, (heard.end, store.log.read_text())
        for user in ("user@example.com", "other@example.com"):
            (delivered,) = poll(lambda user=user: store.messages(user), "the message is in the mailbox")
            assert delivered.replace(b"\r\n", b"\n").endswith(octets.replace(b"\r\n", b"\n"))
        assert node.metric("mxgw_tls_handshakes_total", side="out", result="ok") >= 1
        assert b"Received: from mx.example.com ([127.0.0.2])" in delivered  # XCLIENT: the client's address, not ours
        found = {one["result"] for one in node.wait(lambda: node.status()["recipients"], "the self-test")}
        assert found == {"verified"}
        # whoever reaches the port delivers: this is what the page says, and what doctor finds
        words = ["doctor", "bypass", "--domain", "example.com", "--only-targets"]
        assert main([*words, "--target", f"lmtp://127.0.0.1:{store.port}"]) == 1
        assert "OPEN" in capsys.readouterr().out


FIREWALL = """
import socket, subprocess
def run(*words): subprocess.run(words, check=True)
run("ip", "link", "set", "lo", "up")
for address in ("10.1.0.6", "192.0.2.10", "192.0.2.99"): run("ip", "address", "add", address + "/32", "dev", "lo")
with socket.create_server(("10.1.0.6", 24)) as server:
    def asked(source):
        try:
            socket.create_connection(("10.1.0.6", 24), 5, (source, 0)).close()
        except ConnectionError:
            return "refused"
        return "served"
    print(asked("192.0.2.10"), asked("192.0.2.99"))
    run("nft", "-f", {rules!r})
    print(asked("192.0.2.10"), asked("192.0.2.99"))
"""


def test_the_firewalls_rules_admit_the_gateways_only(tmp_path: Path) -> None:
    need("nft"), need("ip")
    if subprocess.run(
        [shutil.which("unshare") or "unshare", "-n", "true"], check=False, capture_output=True
    ).returncode:
        pytest.skip("this machine allows no network namespace of our own: the firewall's rules were not tried")
    rules = tmp_path / "nftables.conf"
    rules.write_text(blocks(PAGE)["/etc/nftables.conf"])
    said = subprocess.run(
        ["unshare", "-n", sys.executable, "-c", FIREWALL.replace("{rules!r}", repr(str(rules)))],
        check=True, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert said.stdout.split("\n")[:2] == ["served served", "served refused"]
