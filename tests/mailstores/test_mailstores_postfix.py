"""docs/mailstores/postfix.md with a real Postfix: mail flows, unknown recipients are refused, strangers are kept out."""

from __future__ import annotations

import smtplib
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from recipe import blocks, settings, with_names

from gateway.cli.main import main
from tests.real.certificates import Authority
from tests.real.mail_world import attempt, message, policy, poll
from tests.real.node_process import NodeProcess
from tests.real.postfix import MASTER, Postfix, original

PAGE = "postfix.md"
HERE, ELSEWHERE = "127.0.0.1", "127.0.0.77"
"""Gateways: where this test's connections come from, and where they do not."""


class RecipePostfix(Postfix):
    """Postfix with the blocks of the page."""

    def __init__(self, main_cf: str, authority: Authority, *, postscreen: bool) -> None:
        self._main_cf, self._authority, self._postscreen = main_cf, authority, postscreen
        super().__init__(domains=("example.com",))

    def _write(self, domains: tuple[str, ...], relay_to: tuple[str, int] | None, extra: str) -> None:
        certificate = self._authority.write(self.folder / "tls", "store", "ecdsa", "mail.internal.example.com")
        chain = "".join(Path(certificate[part]).read_text() for part in ("key", "certificate"))
        (self.folder / "mailstore.pem").write_text(chain)
        names = {"/etc/postfix": str(self.folder)}
        if "192.0.2.10" in self._main_cf:
            names |= {"192.0.2.10 192.0.2.11": HERE}
        super()._write(domains, relay_to, with_names(self._main_cf, names))
        if self._postscreen:
            listen = {"smtp      inet": f"127.0.0.1:{self.port} inet", " y ": " n "}
            (self.conf / "master.cf").write_text(with_names(blocks(PAGE)["/etc/postfix/master.cf"], listen) + MASTER)
        self.let_in(HERE)

    def let_in(self, gateway: str) -> None:
        table = with_names(blocks(PAGE)["/etc/postfix/gateways.cidr"], {"192.0.2.10": gateway})
        (self.folder / "gateways.cidr").write_text(table)

    def reload(self) -> None:
        subprocess.run(["postfix", "-c", str(self.conf), "reload"], check=True, timeout=30, capture_output=True)


@contextmanager
def world(folder: Path, title: str, *, postscreen: bool) -> Iterator[tuple[NodeProcess, RecipePostfix]]:
    authority = Authority()
    (folder / "ca.pem").write_bytes(authority.certificate)
    store = RecipePostfix(
        blocks(PAGE)[title.replace("gateway.yaml", "/etc/postfix/main.cf")], authority, postscreen=postscreen
    )
    try:
        names = {"10.1.0.5:25": f"127.0.0.1:{store.port}"}
        text = blocks(PAGE)[title]
        if "mailstore-ca" in text:
            names["/etc/mxgw/mailstore-ca.pem"] = str(folder / "ca.pem")
        node = NodeProcess(folder / "node", {**settings(with_names(text, names)), "workers": 1}, policy())
        try:
            node.wait_ready()
            yield node, store
        finally:
            node.end()
    finally:
        store.close()


def mail_flows(node: NodeProcess, store: RecipePostfix) -> bytes:
    octets = message()
    heard = attempt(node.smtp_port, octets)
    assert heard.last[0] == 250, (heard.last, store.log_text())
    (delivered,) = poll(store.messages, "the message is in the mailstore")
    assert original(delivered).endswith(octets)
    assert node.metric("mxgw_tls_handshakes_total", side="out", result="ok") >= 1
    refused = attempt(node.smtp_port, octets, to=("nobody@example.com",))
    assert refused.last[0] == 550
    assert refused.last[1].startswith("5.1.1")
    return delivered


def strangers_are_kept_out(store: RecipePostfix, capsys: pytest.CaptureFixture[str]) -> None:
    store.let_in(ELSEWHERE)
    store.reload()
    words = ["doctor", "bypass", "--domain", "example.com", "--only-targets", "--target", f"127.0.0.1:{store.port}"]

    def asked() -> str:
        code = main(words)
        shown = capsys.readouterr().out
        return shown if code == 0 and "closed" in shown else ""

    # a process that was there before the reload may serve one more connection
    poll(asked, "strangers are kept out", pause=0.3)


def test_mail_flows_with_xclient_and_postscreen_keeps_strangers_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with world(tmp_path, "gateway.yaml", postscreen=True) as (node, store):
        delivered = mail_flows(node, store)
        assert b"[127.0.0.2]" in delivered.partition(b"(mxgw)")[0].partition(b"by mta.example.net")[0]  # XCLIENT
        found = {one["result"] for one in node.wait(lambda: node.status()["recipients"], "the self-test")}
        assert found == {"verified"}
        strangers_are_kept_out(store, capsys)
        with (
            pytest.raises((smtplib.SMTPException, ConnectionError)),
            smtplib.SMTP(HERE, store.port, timeout=20) as smtp,
        ):
            smtp.sendmail("x@example.net", ["user@example.com"], b"no")


def test_mail_flows_without_xclient_and_the_access_table_keeps_strangers_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with world(tmp_path, "gateway.yaml, without XCLIENT", postscreen=False) as (node, store):
        delivered = mail_flows(node, store)
        assert b"[127.0.0.1]" in delivered.partition(b"by mta.example.net")[0]
        strangers_are_kept_out(store, capsys)
