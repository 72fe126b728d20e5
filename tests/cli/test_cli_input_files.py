"""One mistake, one exit code and the same words: files that are not there or are of another kind, and cases to run."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.cli.main import main

SETTINGS = "state_dir: state\nhostname: mx1.example.net\nroutes:\n  - {domains: [example.com], mailstore: smtp://10.1.0.5:25}\n"
SEND = ["send", "--to", "a@example.com", "--from", "", "--helo", "x.example", "--file"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("MXGW_CONFIG", "MXGW_STORE", "MXGW_SECRET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "state").mkdir()
    (tmp_path / "gateway.yaml").write_text(SETTINGS)
    (tmp_path / "policy.yaml").write_text("version: 1\nmode: observe\nrules: []\n")
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [
        [*SEND, "gone"],
        ["replay", "gone"],
        ["track", "--log", "gone"],
        ["cluster", "skew", "--log", "gone"],
        ["policy", "diff", "policy.yaml", "policy.yaml", "--log", "gone"],
        ["greylist", "stats", "--log", "gone"],
        ["spf", "192.0.2.7", "x.example", "a@example.org", "--zone", "gone"],
        ["rbl", "check", "192.0.2.7", "--zone", "gone"],
        ["explain", "--ip", "192.0.2.7", "--from", "", "--rcpt", "a@example.com", "--file", "gone"],
        ["dkim", "gone", "--zone", "/dev/null"],
        ["authres", "gone", "--zone", "/dev/null"],
        ["tlsa", "show", "--next", "gone"],
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_a_file_that_is_not_there_is_66(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 66
    told = capsys.readouterr().err
    assert "mxgw: gone cannot be read: " in told
    assert "Errno" not in told


@pytest.mark.parametrize("words", [["policy", "push", "gone", "--reason", "x"], ["policy", "test", "gone"]])
def test_settings_and_policies_that_are_not_there_are_78(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 78
    assert "cannot be read" in capsys.readouterr().err


def test_what_is_no_log_is_not_a_log_without_the_message(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "text").write_text("2026-11-21 10:00:00 for people\n")
    assert main(["track", "--log", "text"]) == 65
    assert "text: none of its lines is of a node's log (log.format: json)" in capsys.readouterr().err
    assert main(["track", "--log", "/bin/ls"]) == 65
    for content in ("", '{"event": "ready"}\nhalf a li'):
        (folder / "log").write_text(content)
        assert main(["track", "--log", "log"]) == 1


def test_sections_that_the_settings_lack_are_78(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["mta-sts", "render"], ["tlsa", "show"]):
        assert main(words) == 78
    assert main(["tlsa", "show", "--next", "policy.yaml"]) in (65, 78)
    assert "policy.yaml" in capsys.readouterr().err


def test_a_push_never_skips_the_cases_that_it_was_told_to_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    push = ["policy", "push", "policy.yaml", "--reason", "x", "--cases"]
    assert main([*push, "typo"]) == 78
    assert "--cases typo: there is no such folder; nothing was pushed" in capsys.readouterr().err
    (folder / "none").mkdir()
    assert main([*push, "none"]) == 65
    (folder / "none" / "empty.yaml").write_text("cases: []\n")
    assert main([*push, "none"]) in (65, 78)
    told = capsys.readouterr()
    assert "nothing was pushed" in told.err
    assert "sound" not in told.out


def test_messages_name_the_option_that_was_given(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["track", "--since", "7x"]) == 64
    assert "--since 7x: a number and s, m, h or d" in capsys.readouterr().err
    assert main(["tail", "--for", "7x"]) == 64
    assert "--for 7x" in capsys.readouterr().err


def test_a_store_that_does_not_answer_is_named_with_its_place(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "gateway.yaml").write_text(SETTINGS + "store: redis://:hunter2@127.0.0.1:9/0\n")
    assert main(["blocks"]) == 69
    told = capsys.readouterr().err
    assert "`store` is redis://:******@127.0.0.1:9/0 (gateway.yaml:5, settings gateway.yaml)" in told


def test_records_of_a_domain_that_no_route_serves_are_no_success(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dns-records", "example.com"]) == 0
    assert main(["dns-records", "other.example"]) == 1
    assert "no route serves other.example" in capsys.readouterr().out


def test_a_relative_maildir_is_beside_the_settings(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "gateway.yaml").write_text(SETTINGS.replace("smtp://10.1.0.5:25", "maildir:mail"))
    assert main(["config", "show"]) == 0
    assert f"maildir:{folder}/mail" in capsys.readouterr().out
    (folder / "gateway.yaml").write_text(SETTINGS.replace("smtp://10.1.0.5:25", '"maildir:"'))
    assert main(["check-config"]) == 78
    told = capsys.readouterr()
    assert (told.out + told.err).count(";") == 1
