"""The completion scripts, read by the shells themselves."""

import subprocess
from pathlib import Path

import pytest
from debian import need

from gateway.cli.main import COMMANDS, main


@pytest.fixture
def script(tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Path:
    assert main(["completion", request.param]) == 0
    file = tmp_path / "mxgw.completion"
    file.write_text(capsys.readouterr().out)
    return file


def said(words: list[str], folder: Path) -> list[str]:
    found = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=30, check=False)
    assert found.returncode == 0, found.stderr
    assert found.stderr == ""
    return found.stdout.split()


def bash(script: Path, *typed: str) -> list[str]:
    """What bash offers for the last word."""
    words = " ".join(f"'{word}'" for word in typed)
    ask = f"source {script}; COMP_WORDS=({words}); COMP_CWORD={len(typed) - 1}; _mxgw; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    return said(["bash", "--norc", "-c", ask], script.parent)


@pytest.mark.parametrize("script", ["bash"], indirect=True)
def test_bash_completes_commands_options_values_and_files(script: Path) -> None:
    assert bash(script, "mxgw", "clu") == ["cluster"]
    assert set(bash(script, "mxgw", "")) == set(COMMANDS)
    assert bash(script, "mxgw", "cluster", "un") == ["undrain"]
    assert bash(script, "mxgw", "greylist", "st") == ["stats"]
    assert bash(script, "mxgw", "cluster", "drain", "mx3", "--rea") == ["--reason"]
    assert bash(script, "mxgw", "explain", "-o", "json") == ["json", "jsonl"]
    assert bash(script, "mxgw", "completion", "z") == ["zsh"]
    (script.parent / "gateway.yaml").write_text("")
    assert bash(script, "mxgw", "check-config", "gate") == ["gateway.yaml"]
    assert bash(script, "mxgw", "cluster", "status", "--config", "gate") == ["gateway.yaml"]
    ask = f"source {script}; complete -p mxgw"
    assert "_mxgw" in said(["bash", "--norc", "-c", ask], script.parent)


@pytest.mark.real("zsh")
@pytest.mark.parametrize("script", ["zsh"], indirect=True)
def test_zsh_completes_commands_options_and_values(script: Path) -> None:
    need("zsh")

    def zsh(*typed: str) -> list[str]:
        words = " ".join(f"'{word}'" for word in typed)
        ask = (
            "compdef() { registered=$1; }; compadd() { shift; print -l -- $@; }; _files() { print FILES; }; "
            f"source {script}; [[ $registered == _mxgw ]] || exit 1; words=({words}); CURRENT={len(typed)}; _mxgw"
        )
        return said(["zsh", "-f", "-c", ask], script.parent)

    assert set(zsh("mxgw", "clu")) == set(COMMANDS)  # compadd itself picks those that fit
    assert "undrain" in zsh("mxgw", "cluster", "un")
    assert "--reason" in zsh("mxgw", "cluster", "drain", "--rea")
    assert zsh("mxgw", "version", "-o", "j") == ["text", "json", "jsonl"]
    assert zsh("mxgw", "check-config", "gate") == ["FILES"]


@pytest.mark.real("fish")
@pytest.mark.parametrize("script", ["fish"], indirect=True)
def test_fish_completes_commands_options_and_values(script: Path) -> None:
    need("fish")

    def fish(typed: str) -> list[str]:
        ask = f"source {script}; complete --do-complete '{typed}'"
        text = subprocess.run(
            ["fish", "--no-config", "-c", ask],
            cwd=script.parent,
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
            env={"PATH": "/usr/bin:/bin", "HOME": str(script.parent)},
        )
        assert text.stderr == ""
        return [line.partition("\t")[0] for line in text.stdout.splitlines()]

    assert fish("mxgw clu") == ["cluster"]
    assert fish("mxgw cluster un") == ["undrain"]
    assert fish("mxgw cluster drain mx3 --rea") == ["--reason"]
    assert fish("mxgw version --output json") == ["json", "jsonl"]
    assert fish("mxgw completion z") == ["zsh"]
