"""Every command in bad surroundings: a code of sysexits, and a clear line in place of a traceback."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

import pytest

from gateway.cli.examples import EXAMPLES
from gateway.cli.main import main
from gateway.cli.tree import leaves, whole_parser

LEAVES = {parser.prog.removeprefix("mxgw "): parser for parser in leaves(whole_parser())}
CODES = {0, 1, 64, 65, 66, 69, 75, 78}
"""Those that a mistake of the operator or of the surroundings may have; 70 would be a defect of ours."""
AWAY = """\
state_dir: state
hostname: mx1.example.com
store: redis://127.0.0.1:9/0
secret: 0123456789abcdef0123456789abcdef
dns: {servers: ["127.0.0.1:9"], timeout: 0.2}
routes:
  - domains: [example.com]
    mailstore: smtp://127.0.0.1:9
"""
BROKEN = {
    "no-yaml": "routes: [unclosed\n",
    "unknown-key": AWAY + "lisetners: []\n",
    "binary": "\x00\x01\x02",
    "a-list": "- 1\n- 2\n",
    "empty": "",
}
POLICY = "version: 1\nmode: observe\nrules: []\n"
MESSAGE = "From: anna@example.org\r\nSubject: x\r\n\r\nx\r\n"
OUTWARD = {"check-domain", "probe", "mta-sts check", "tlsa check"}
QUICK = {"--resolver": "127.0.0.1:9", "--timeout": "0.5"}
"""What is added where a command has it, so that nothing leaves this machine and nobody waits."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("MXGW_CONFIG", "MXGW_STORE", "MXGW_SECRET", "MXGW_POLICY", "MXGW_STATE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "away.yaml").write_text(AWAY)
    (tmp_path / "policy.yaml").write_text(POLICY)
    (tmp_path / "message.eml").write_text(MESSAGE)
    (tmp_path / "journal.jsonl").write_text("{}\n")
    (tmp_path / "maillog").write_text("nothing\n")
    return tmp_path


def options(parser: argparse.ArgumentParser) -> set[str]:
    return {name for action in parser._actions for name in action.option_strings}


def words_of(path: str, config: str) -> list[str]:
    """The first example with this settings file."""
    if path == "check-config":
        return [path, config]
    words = [*path.split(), *shlex.split(EXAMPLES[path][0])]
    known = options(LEAVES[path])
    if "--config" in known:
        if "--config" in words:
            at = words.index("--config")
            words[at : at + 2] = []
        words += ["--config", config]
    for name, value in QUICK.items():
        if name in known and name not in words:
            words += [name, value]
    if "--wait" in words:  # a bare flag at some, seconds at others
        at = words.index("--wait")
        words[at : at + 2] = words[at + 1 : at + 2] if words[at + 1 : at + 2] and words[at + 1].startswith("-") else []
    return words


def told(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit code and standard error, which is sound."""
    code = main(words)
    out, errors = capsys.readouterr()
    assert "Traceback" not in out + errors, words
    assert code in CODES, (words, code, errors)
    for line in errors.splitlines():
        assert line.strip() == "" or len(line) < 600
    return code, errors


WITH_CONFIG = sorted(path for path, parser in LEAVES.items() if "--config" in options(parser))


@pytest.mark.parametrize("path", WITH_CONFIG)
def test_settings_that_are_not_there(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, errors = told(words_of(path, "missing.yaml"), capsys)
    if code == 78:
        assert "missing.yaml" in errors
        assert len(errors.splitlines()) == 1
    else:  # what this example asks needs none
        assert path == "drill"


@pytest.mark.parametrize("path", WITH_CONFIG)
def test_settings_that_are_broken(path: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for kind, text in BROKEN.items():
        file = folder / f"{kind}.yaml"
        file.write_text(text)
        code, errors = told(words_of(path, str(file)), capsys)
        if path != "drill":
            assert code == 78, (kind, errors)
            assert file.name in errors


@pytest.mark.parametrize("path", [path for path in WITH_CONFIG if path not in ("run", "tail", "trace", *OUTWARD)])
def test_redis_dns_and_mailstore_are_away(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, errors = told(words_of(path, "away.yaml"), capsys)
    if code in (64, 65, 66, 69, 75, 78):
        assert errors.strip() or code in (69, 75), (path, code)


@pytest.mark.parametrize("path", sorted(LEAVES))
def test_an_unknown_option_is_64(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, errors = told([*words_of(path, "away.yaml"), "--no-such-option"], capsys)
    assert code == 64
    assert "--no-such-option" in errors


@pytest.mark.parametrize("path", sorted(LEAVES))
def test_nothing_where_something_is_needed_and_nonsense_in_its_place(
    path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    needed = [action for action in LEAVES[path]._actions if not action.option_strings and action.nargs is None]
    if not needed:
        return
    assert told(path.split(), capsys)[0] == 64
    nonsense = [*path.split(), *("\x1b[2J not a thing/\u2028" for _ in needed)]
    known = options(LEAVES[path])
    for name, value in {"--config": "away.yaml", **QUICK, "--reason": "x"}.items():
        if name in known:
            nonsense += [name, value]
    code, errors = told(nonsense, capsys)
    assert code != 0, errors
    assert "\x1b" not in errors


TABLE = [
    (["version"], 0),
    (["policy", "check", "policy.yaml"], 0),
    (["spf", "192.0.2.7", "mail.example.org", "anna@example.org", "--zone", "/dev/null"], 1),
    (["blocks", "--no-such-option"], 64),
    (["dkim", "no-such-file.eml"], 66),
    (["cluster", "status", "--config", "away.yaml"], 69),
    (["rcpt", "check", "bob@example.com", "--config", "away.yaml"], 75),
    (["policy", "check", "maillog"], 78),
    (["check-config", "missing.yaml"], 78),
]


@pytest.mark.parametrize(
    ("words", "code"), TABLE, ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else ""
)
def test_codes_of_sysexits(words: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(words, capsys)[0] == code
