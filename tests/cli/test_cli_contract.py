"""What holds for every command: its output for programs, its examples, its page in docs/cli.md, its style."""

import argparse
import json
import os
import pty
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.cli.examples import EXAMPLES
from gateway.cli.main import COMMANDS, main
from gateway.cli.output import FORMS, CommandError, show_columns
from gateway.cli.tree import leaves, usage_text, whole_parser

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "cli.md"
WITHOUT_OUTPUT = {
    "run": "its log is its output (settings, log.format)",
    "config schema": "prints a JSON Schema and nothing else",
    "policy schema": "prints a JSON Schema and nothing else",
    "completion": "prints a shell's script",
}
HEAD = """\
# Commands

Made from the commands' own parsers by `MXGW_UPDATE=1 pytest tests/cli/test_cli_contract.py`; do not edit.

Each command says the same of itself with `--help`, and each example is run by a test.

## What holds for all

- **Settings** are read from `--config FILE`, else `$MXGW_CONFIG`, else `./gateway.yaml`, else `/etc/mxgw/gateway.yaml`.
- **`--output text`** (default) is for people and may change. On a terminal tables are folded and coloured; in a pipe, or
  with `NO_COLOR` set, they are plain aligned columns.
- **`--output json`** is for programs and is a contract: one object with `"schema": "mxgw/v1/..."`. Under that name fields may be
  added; none is taken away and none changes its meaning.
- **`--output jsonl`** is the same, one object a line: first each member of its lists of objects (`mxgw/v1/COMMAND.LIST`),
  then all else (`mxgw/v1/COMMAND`).
- **Completion**: `mxgw completion bash > /usr/share/bash-completion/completions/mxgw`; `zsh` and `fish` likewise.
- **Exit codes** are those of sysexits(3). A mistake of the operator is told in a line on standard error, never by a
  traceback.

| code | means |
|---|---|
| 0 | fine, or the answer is yes |
| 1 | ran well, and the answer is no: something differs, is listed, is wrong |
| 64 | the command line is wrong |
| 65 | what was given (a file, an address) cannot be used |
| 66 | a file that was given cannot be read; settings and policies: 78 |
| 69 | a node, Redis, DNS or a mailstore cannot be reached |
| 70 | a defect of ours: please report it with the traceback |
| 75 | try again: nobody can say now |
| 78 | settings or policy are wrong; each fault is named with file and line |
| 130 | interrupted |
"""


def path_of(parser: argparse.ArgumentParser) -> str:
    return parser.prog.removeprefix("mxgw ")


LEAVES = {path_of(parser): parser for parser in leaves(whole_parser())}


def page() -> str:
    parts = [HEAD]
    for name, (_, text) in COMMANDS.items():
        parts.append(f"## mxgw {name}\n\n{text[0].upper()}{text[1:]}.\n")
        for path, parser in LEAVES.items():
            if path.split()[0] != name:
                continue
            if path != name:
                parts.append(f"### mxgw {path}\n")
            lines = "\n".join(f"mxgw {path} {words}".rstrip() for words in EXAMPLES.get(path, ()))
            parts.append(f"```sh\n{lines}\n```\n")
            if table := usage_text(parser):
                parts.append(f"| argument | |\n|---|---|\n{table}\n")
    return "\n".join(parts)


def test_docs_cli_is_what_the_parsers_say() -> None:
    if os.environ.get("MXGW_UPDATE"):
        PAGE.write_text(page(), encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == page(), "MXGW_UPDATE=1 pytest tests/cli/test_cli_contract.py"


def test_every_command_has_an_example_that_parses(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(EXAMPLES) == set(LEAVES), "gateway/cli/examples.py"
    whole = whole_parser()
    for path, examples in EXAMPLES.items():
        for words in examples:
            whole.parse_args([*path.split(), *shlex.split(words)])
        assert main([*path.split(), "--help"]) == 0
        assert f"mxgw {path} {examples[0]}".rstrip() in capsys.readouterr().out


def test_every_command_has_output_for_programs() -> None:
    for path, parser in LEAVES.items():
        found = [action for action in parser._actions if "--output" in action.option_strings]
        if path in WITHOUT_OUTPUT:
            assert not found
            continue
        assert found, f"{path} has no --output"
        assert tuple(found[0].choices or ()) == FORMS, path
        assert "-o" in found[0].option_strings, path


def test_no_command_prints_json_but_with_its_schema() -> None:
    """Whoever prints JSON goes through show_json; the two schemas and the streams are the exceptions."""
    allowed = {"output.py", "config.py", "policy.py", "tail.py", "trace.py", "track.py"}
    for file in (ROOT / "gateway" / "cli").glob("*.py"):
        if file.name not in allowed:
            assert "print(json.dumps" not in file.read_text(encoding="utf-8"), file.name


def test_jsonl_is_one_object_a_line_and_json_the_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "show", "-o", "json"]) == 0
    whole = json.loads(capsys.readouterr().out)
    assert whole["schema"] == "mxgw/v1/policy-show"
    assert main(["policy", "show", "-o", "jsonl"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[-1]["schema"] == "mxgw/v1/policy-show"
    assert lines[-1]["digest"] == whole["digest"]
    assert main(["drill", "list", "-o", "jsonl"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {line["schema"] for line in lines} == {"mxgw/v1/drill-list.drills", "mxgw/v1/drill-list"}
    # what one command was asked for is forgotten by the next
    assert main(["version", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["schema"] == "mxgw/v1/version"


def test_columns_in_a_pipe_are_plain_and_hold_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    show_columns([("A", "B"), ("evil\x1b[2J", "[bold]x[/bold]"), ("c", "d")])
    assert capsys.readouterr().out == "A         B\nevil?[2J  [bold]x[/bold]\nc         d\n"


def on_a_terminal(words: list[str], **env: str) -> str:
    """Standard output of a command whose terminal has 60 columns."""
    ours, theirs = pty.openpty()
    surroundings = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "60", **env}
    surroundings = {name: value for name, value in surroundings.items() if value}
    with subprocess.Popen(
        [sys.executable, "-m", "gateway", *words], cwd=ROOT, stdout=theirs, stderr=subprocess.DEVNULL, env=surroundings
    ):
        os.close(theirs)
        told = b""
        try:
            while piece := os.read(ours, 65536):
                told += piece
        except OSError:  # the other end is closed: Linux says EIO
            pass
    os.close(ours)
    return told.decode()


def test_a_terminal_gets_a_table_within_its_width_and_no_colour_means_none() -> None:
    coloured = on_a_terminal(["drill", "list"], NO_COLOR="")
    assert "\x1b[1m" in coloured
    plain = on_a_terminal(["drill", "list"], NO_COLOR="1")
    assert "\x1b" not in plain
    assert "node-killed-in-data" in plain
    assert max(map(len, coloured.replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines())) <= 62


def test_every_error_carries_a_sysexits_code() -> None:
    names = {64, 65, 66, 69, 70, 75, 78, 1, 130}
    from gateway.cli import sysexits

    assert {value for key, value in vars(sysexits).items() if key.isupper()} == names | {0}
    assert CommandError(64, "x").code in names
