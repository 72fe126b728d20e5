"""``mxgw doctor``: mailstores that take every recipient, and hosts that take mail which went around the gateway."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from gateway.cli.main import main
from tests.delivery.scripted import Close, Script
from tests.real.mail_world import scripted_mailstore
from tests.real.postfix import Postfix, free_port

CLOSED_SIDE = "smtpd_client_restrictions = reject\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("MXGW_CONFIG", "MXGW_STORE", "MXGW_SECRET", "MXGW_POLICY", "MXGW_STATE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def bypass(*words: str) -> int:
    return main(["doctor", "bypass", "--domain", "example.com", "--only-targets", *words])


@pytest.fixture(scope="module")
def open_postfix() -> Iterator[Postfix]:
    found = Postfix(domains=("example.com",))
    yield found
    found.close()


@pytest.fixture(scope="module")
def closed_postfix() -> Iterator[Postfix]:
    found = Postfix(domains=("example.com",), extra=CLOSED_SIDE)
    yield found
    found.close()


def test_a_postfix_that_is_open_to_strangers_is_named_and_gets_no_mail(
    open_postfix: Postfix, capsys: pytest.CaptureFixture[str]
) -> None:
    target = f"127.0.0.1:{open_postfix.port}"
    assert bypass("--target", target) == 1
    assert f"{target}  127.0.0.1  given  OPEN" in capsys.readouterr().out
    assert bypass("--target", target, "--rcpt", "nobody@example.com") == 1  # "no such user" is an open door too
    assert bypass("--target", target, "-o", "json") == 1
    shown = capsys.readouterr().out
    told = json.loads(shown[shown.index("{") :])
    assert told["schema"] == "mxgw/v1/doctor-bypass"
    assert [(one["result"], one["open"]) for one in told["targets"]] == [("OPEN", True)]
    assert open_postfix.messages("postmaster") == []


def test_a_postfix_that_is_closed_to_strangers_passes(
    closed_postfix: Postfix, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bypass("--target", f"127.0.0.1:{closed_postfix.port}") == 0
    told = capsys.readouterr().out
    assert "closed" in told
    assert "554 5.7.1" in told


SAID: dict[str, tuple[Script, str, int]] = {
    "exchange without anonymous users": ({"MAIL": "530 5.7.57 Client was not authenticated"}, "closed", 0),
    "refused at the greeting": ({"connect": "554 5.7.1 not you"}, "closed", 0),
    "Google Workspace with an inbound gateway": ({"RCPT": "550 5.7.1 IP not in gateway list"}, "closed", 0),
    "accepts every recipient": ({}, "OPEN", 1),
    "no such user": ({"RCPT": "550 5.1.1 no such user"}, "OPEN", 1),
    "550 without why": ({"RCPT": "550 no"}, "unclear", 75),
    "greylisted": ({"RCPT": "450 4.2.0 come again"}, "unclear", 75),
    "busy": ({"connect": Close("421 4.3.2 busy")}, "unclear", 75),
    "the gateway itself": ({"connect": "220 mx.example.com ESMTP mxgw"}, "gateway", 0),
}


@pytest.mark.parametrize("case", SAID)
def test_what_a_host_says_is_judged(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    script, result, code = SAID[case]
    with scripted_mailstore(dict(script)) as store:
        assert bypass("--target", f"127.0.0.1:{store.port}", "-o", "json") == code
        assert "DATA" not in store.commands
    (told,) = json.loads(capsys.readouterr().out)["targets"]
    assert told["result"] == result, told


def test_nobody_there_is_no_way_around_and_no_target_is_no_answer(capsys: pytest.CaptureFixture[str]) -> None:
    assert bypass("--target", f"127.0.0.1:{free_port()}") == 0
    assert "silent" in capsys.readouterr().out
    assert bypass() == 69
    assert "no host was found" in capsys.readouterr().out
    for words in (["--target", "a b"], ["--target", "127.0.0.1:0"], ["--target", "lmtp://"], ["--rcpt", "nobody"], ["--from", "x"]):
        assert bypass(*words) in (64, 65)
        assert "Traceback" not in capsys.readouterr().err


def test_the_reverse_path_can_be_chosen() -> None:
    with scripted_mailstore() as store:
        bypass("--target", f"127.0.0.1:{store.port}", "--from", "boss@example.com", "--rcpt", "user@example.com")
        assert [line for line in store.commands if line[:4] in ("MAIL", "RCPT")] == [
            "MAIL FROM:<boss@example.com>", "RCPT TO:<user@example.com>",
        ]


def test_the_domains_own_names_are_looked_up_and_the_gateways_left_out(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "zone").write_text(
        "example.com. MX 10 mx.example.com.\nexample.com. MX 20 old.example.com.\nexample.com. A 127.0.0.11\n"
        "mx.example.com. A 127.0.0.12\nold.example.com. A 127.0.0.13\nmail.example.com. A 127.0.0.14\n"
        "smtp.example.com. CNAME mx.example.com.\nexample-com.mail.protection.outlook.com. A 127.0.0.15\n"
    )
    words = ["doctor", "bypass", "--domain", "example.com", "--zone", "zone", "--gateway", "mx.example.com"]
    main([*words, "--timeout", "1", "-o", "json"])
    told = json.loads(capsys.readouterr().out)["targets"]
    assert {(one["target"], one["address"], one["why"]) for one in told} == {
        ("example.com:25", "127.0.0.11", "the domain itself"),
        ("old.example.com:25", "127.0.0.13", "published MX"),
        ("mail.example.com:25", "127.0.0.14", "usual name"),
        ("example-com.mail.protection.outlook.com:25", "127.0.0.15", "Microsoft 365 tenant"),
    }


def test_the_self_test_tells_mailstores_apart(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def write(*ports: int) -> None:
        routes = [{"domains": [f"d{port}.example"], "mailstore": f"smtp://127.0.0.1:{port}"} for port in ports]
        routes.append({"domains": ["l.example"], "mailstore": "smtp://127.0.0.1:9", "recipients": "accept"})
        (folder / "gateway.yaml").write_text(yaml.safe_dump({"state_dir": "state", "routes": routes}))

    with scripted_mailstore() as every, scripted_mailstore({"RCPT": "550 5.1.1 unknown"}) as honest:
        write(every.port, honest.port)
        assert main(["doctor", "mailstore", "-o", "json"]) == 1
        told = json.loads(capsys.readouterr().out)["mailstores"]
        assert [one["result"] for one in told] == ["accepts-all", "verified", "listed"]
        assert "DATA" not in every.commands
        write(honest.port)
        assert main(["doctor", "mailstore"]) == 0
        assert "refuses unknown recipients" in capsys.readouterr().out
        write(honest.port, free_port())
        assert main(["doctor", "mailstore"]) == 69
