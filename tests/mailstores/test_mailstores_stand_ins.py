"""The gateway's side of the recipes for mailstores that no test can run, against stand-ins that answer as they do."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from recipe import blocks, settings, with_names

from gateway.cli.main import main
from tests.delivery.standins import (
    Exchange,
    GoogleWorkspace,
    Microsoft365,
    StandIn,
    ZimbraLmtp,
    ZimbraMta,
    beside,
)
from tests.real.certificates import Authority
from tests.real.mail_world import Attempt, attempt, message, policy
from tests.real.node_process import NodeProcess

NAME = "mailstore.example"


@dataclass
class World:
    """One node with a route for each recipe, ``user@<recipe>.example`` behind each."""

    node: NodeProcess
    stores: dict[str, StandIn]
    sent: bytes = b""
    """The last message."""

    def send(self, recipe: str, *users: str) -> Attempt:
        self.sent = message()
        return attempt(self.node.smtp_port, self.sent, to=tuple(f"{user}@{recipe}.example" for user in users))


def _route(page: str, title: str, recipe: str, names: dict[str, str]) -> dict[str, Any]:
    text = with_names(blocks(page)[title], {**names, "[example.com]": f"[{recipe}.example]"})
    (route,) = settings(text)["routes"]
    return {**route, "name": recipe}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("stand-ins")
    authority = Authority()
    (folder / "ca.pem").write_bytes(authority.certificate)
    pair = authority.write(folder, "store", "ecdsa", NAME)
    ours = authority.write(folder, "gateway", "ecdsa", "gateway.example.com")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(pair["certificate"], pair["key"])

    def users(recipe: str) -> frozenset[str]:
        return frozenset({f"user@{recipe}.example", f"other@{recipe}.example"})

    demands = "451 5.7.3 STARTTLS is required to send mail"
    stores: dict[str, StandIn] = {
        "exchange": Exchange(users("exchange"), tls),
        "filtered": Exchange(users("filtered"), tls, filtered=True),
        "zimbra": ZimbraMta(users("zimbra"), tls),
        "zimbra-lmtp": ZimbraLmtp(users("zimbra-lmtp")),
        "m365": Microsoft365(users("m365"), tls, demands=demands),
        "m365-cert": Microsoft365(users("m365-cert"), tls, demands=demands),
        "google": GoogleWorkspace(users("google"), tls),
        "google-2": GoogleWorkspace(users("google"), tls),
    }
    people = folder / "recipients.txt"
    people.write_text(blocks("exchange.md")["recipients.txt"].replace("ann@example.com", "user@exchange.example"))
    with beside(*stores.values()):
        verified = {"tls: verify\n": f"tls: verify\n      ca: {folder}/ca.pem\n      name: {NAME}\n"}
        indented = {"tls: verify\n": f"tls: verify\n        ca: {folder}/ca.pem\n        name: {NAME}\n"}
        at = {recipe: f"127.0.0.1:{store.port}" for recipe, store in stores.items()}
        tenant = "example-com.mail.protection.outlook.com:25"
        certificate = {"/etc/mxgw/gateway.crt": ours["certificate"], "/etc/mxgw/gateway.key": ours["key"]}
        routes = [
            _route("exchange.md", "gateway.yaml", "exchange",
                   {"10.1.0.7:25": at["exchange"], "recipients.txt": str(people)}),
            _route("exchange.md", "gateway.yaml, with the Recipient Filter", "filtered",
                   {"10.1.0.7:2525": at["filtered"]}),
            _route("zimbra.md", "gateway.yaml", "zimbra", {"10.1.0.8:25": at["zimbra"]}),
            _route("zimbra.md", "gateway.yaml, by LMTP", "zimbra-lmtp", {"10.1.0.8:7025": at["zimbra-lmtp"]}),
            _route("microsoft-365.md", "gateway.yaml", "m365", {tenant: at["m365"], **verified}),
            _route("microsoft-365.md", "gateway.yaml, with a certificate", "m365-cert",
                   {tenant: at["m365-cert"], **verified, **certificate}),
            _route("google-workspace.md", "gateway.yaml", "google",
                   {"smtp://aspmx.l.google.com:25": f"smtp://{at['google']}",
                    "smtp://alt1.aspmx.l.google.com:25": f"smtp://{at['google-2']}", **indented}),
        ]  # fmt: skip
        node = NodeProcess(folder / "node", {"routes": routes, "workers": 1}, policy())
        try:
            node.wait_ready()
            yield World(node, stores)
        finally:
            node.end()


@pytest.mark.parametrize("recipe", ["exchange", "filtered", "zimbra", "zimbra-lmtp", "m365", "m365-cert", "google"])
def test_mail_flows_and_an_unknown_recipient_is_refused_before_the_content(world: World, recipe: str) -> None:
    store = world.stores[recipe]
    taken = len(store.taken)
    heard = world.send(recipe, "user", "nobody")
    assert [code for code, _ in heard.rcpt] == [250, 550], heard.rcpt
    assert heard.end[0] == 250, heard.end
    (message_,) = store.taken[taken:]
    assert message_.recipients == (f"user@{recipe}.example",)
    assert message_.content.endswith(world.sent)
    assert message_.encrypted == (recipe != "zimbra-lmtp")
    assert not [line for line in store.in_clear if recipe != "zimbra-lmtp" and line[:4] in ("MAIL", "RCPT", "XCLI")]


def test_exchange_is_never_asked_for_recipients_that_the_list_does_not_have(world: World) -> None:
    assert world.send("exchange", "nobody").last[0] == 550
    assert not [line for line in world.stores["exchange"].commands if "nobody@" in line]


def test_the_self_test_sees_who_can_be_asked(world: World) -> None:
    found = world.node.wait(lambda: world.node.status()["recipients"], "the self-test")
    results = {one["route"]: one["result"] for one in found}
    assert results == {
        "exchange": "listed", "filtered": "verified", "zimbra": "verified", "zimbra-lmtp": "verified",
        "m365": "verified", "m365-cert": "verified", "google": "verified",
    }  # fmt: skip


def test_exchanges_front_end_without_a_list_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with beside(store := Exchange()):
        text = with_names(blocks("exchange.md")["gateway.yaml"], {"10.1.0.7:25": f"127.0.0.1:{store.port}"})
        text = text.replace("tls: required", "tls: opportunistic").replace("recipients: {file: recipients.txt}", "")
        (tmp_path / "gateway.yaml").write_text(text + "\nstate_dir: state\n")
        assert main(["doctor", "mailstore"]) == 1
    assert "accepts every address" in capsys.readouterr().out


def test_a_throttled_message_is_the_senders_until_microsoft_takes_it(world: World) -> None:
    store = world.stores["m365"]
    assert isinstance(store, Microsoft365)
    taken = len(store.taken)
    store.throttled = "end"
    heard = world.send("m365", "other")
    assert heard.end[0] == 451, heard.end
    assert heard.end[1].startswith("4.7.500")
    store.throttled = ""
    assert world.send("m365", "other").end[0] == 250
    assert len(store.taken) == taken + 1


def test_the_second_host_of_google_takes_what_the_first_does_not(world: World) -> None:
    first, second = world.stores["google"], world.stores["google-2"]
    assert isinstance(first, GoogleWorkspace)
    assert isinstance(second, GoogleWorkspace)
    assert world.send("google", "user").end[0] == 250  # from now on the recipient is known
    taken = len(second.taken)
    first.rate = "MAIL"
    heard = world.send("google", "user")
    assert heard.end[0] == 250, heard
    assert len(second.taken) == taken + 1
    second.rate = "MAIL"
    heard = world.send("google", "user")
    assert heard.last[0] == 451, heard
    first.rate = second.rate = ""


def test_the_connector_of_microsoft_365_closes_the_bypass(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["doctor", "bypass", "--domain", "example.com", "--rcpt", "ann@example.com", "--only-targets", "--target"]
    for locked, code in ((False, 1), (True, 0)):
        with beside(store := Microsoft365(locked=locked)):
            assert main([*words, f"127.0.0.1:{store.port}"]) == code, capsys.readouterr()
            assert store.taken == []
