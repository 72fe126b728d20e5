"""Exit codes, and that a mistake of the operator never shows a traceback."""

import json
from pathlib import Path

import pytest

from gateway import __version__
from gateway.cli.main import COMMANDS, main

SMALL = "state_dir: state\nroutes:\n  - domains: [example.com]\n    mailstore: smtp://10.1.0.5:25\n"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("MXGW_CONFIG", "MXGW_STORE", "MXGW_SECRET", "MXGW_POLICY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "gateway.yaml"
    path.write_text(SMALL)
    return path


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["bogus"],
        ["send"],
        ["send", "--to", "not an address"],
        ["send", "--to", "a@example.com", "--server", "nowhere"],
        ["send", "--to", "a@example.com", "--size", "many"],
        ["explain", "--ip", "300.1.1.1", "--from", "", "--rcpt", "a@example.com"],
        ["config"],
        ["policy", "digest"],
    ],
    ids=" ".join,
)
def test_usage_is_64(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 64
    told = capsys.readouterr()
    assert told.out == ""
    assert "mxgw" in told.err
    assert "Traceback" not in told.err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert f"usage: mxgw {command}" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"mxgw {__version__}\n"
    assert main(["version", "--output", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["schema"] == "mxgw/v1/version"


def test_check_config_is_0_for_a_sound_file(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-config"]) == 0
    assert "gateway.yaml: OK" in capsys.readouterr().out


def test_check_config_tells_programs_all_faults(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text(SMALL + "workers: lots\nlisetners: []\n")
    assert main(["check-config", "--output", "json"]) == 78
    told = json.loads(capsys.readouterr().out)
    assert told["schema"] == "mxgw/v1/check-config"
    assert [(fault["line"], fault["key"]) for fault in told["faults"]] == [(5, "workers"), (6, "lisetners")]


def test_a_file_that_is_not_there_is_78(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (
        ["run", "--config", "gone.yaml"],
        ["config", "show", "--config", "gone.yaml"],
        ["policy", "check", "x"],
    ):
        assert main(words) == 78
        assert "cannot be read" in capsys.readouterr().err


def test_show_masks_secrets_and_names_origins(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MXGW_STORE", "redis://user:hunter2@10.2.0.7:6379/0?password=hunter2")
    monkeypatch.setenv("MXGW_SECRET", "hunter2hunter2hunter2")
    assert main(["config", "show"]) == 0
    told = capsys.readouterr().out
    assert "hunter2" not in told
    assert "gateway.yaml:4" in told
    assert main(["config", "show", "--diff-default", "--output", "json"]) == 0
    settings = json.loads(capsys.readouterr().out)["settings"]
    assert settings["store"] == {"value": "redis://user:******@10.2.0.7:6379/0?password=******", "origin": "MXGW_STORE"}
    assert settings["secret"] == {"value": "******", "origin": "MXGW_SECRET"}
    assert "workers" not in settings


def test_schemas_are_json(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["config", "schema"], ["policy", "schema"]):
        assert main(words) == 0
        assert json.loads(capsys.readouterr().out)["$schema"].startswith("https://json-schema.org/")


def test_policy_commands(capsys: pytest.CaptureFixture[str]) -> None:
    policies = Path(__file__).parents[2] / "policies"
    assert main(["policy", "check", str(policies / "default.yaml")]) == 0
    digest = capsys.readouterr().out.rsplit(" ", 1)[1].strip()
    assert main(["policy", "digest", str(policies / "default.yaml")]) == 0
    assert capsys.readouterr().out.startswith(digest)
    assert main(["policy", "test", str(policies / "cases")]) == 0
    assert "0 failed" in capsys.readouterr().out
    assert main(["policy", "show", str(policies / "strict.yaml"), "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["profiles"][0]["rules"]
