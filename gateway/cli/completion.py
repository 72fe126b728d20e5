"""``mxgw completion bash|zsh|fish``: a script that completes commands, options and their values.

It is made from the parsers, holds all words and starts nothing while one types. Install it with
``mxgw completion bash > /usr/share/bash-completion/completions/mxgw``.

Known gaps: values that only a node knows (names of nodes, keys) are not completed.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from gateway.cli.sysexits import OK


def arguments(parser: argparse.ArgumentParser) -> None:
    """The shell's name."""
    parser.add_argument("shell", choices=tuple(SHELLS), help="the shell that reads the script")


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    from gateway.cli.tree import whole_parser

    print(SHELLS[args.shell](list(words_of(whole_parser(), ""))), end="")
    return OK


@dataclass(frozen=True, slots=True)
class Words:
    """What may follow a command (its words, '' for mxgw alone): sub-commands with their help, options, options with a
    value and the values they may have (empty: a file)."""

    path: str
    commands: tuple[tuple[str, str], ...]
    options: tuple[tuple[str, str], ...]
    values: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]
    choices: tuple[str, ...]


def words_of(parser: argparse.ArgumentParser, path: str) -> Iterator[Words]:
    """Those of the parser and of all below it."""
    below: dict[str, argparse.ArgumentParser] = {}
    helps: dict[str, str] = {}
    options: list[tuple[str, str]] = []
    values: list[tuple[tuple[str, ...], tuple[str, ...]]] = []
    choices: list[str] = []
    for action in parser._actions:  # argparse has no public way to ask for them
        if isinstance(action, argparse._SubParsersAction):
            below.update(action.choices)
            helps.update({one.dest: one.help or "" for one in action._choices_actions})
        elif action.option_strings:
            options += [(name, _line(action.help)) for name in action.option_strings]
            if action.nargs != 0:
                values.append((tuple(action.option_strings), tuple(map(str, action.choices or ()))))
        elif action.choices:
            choices += map(str, action.choices)
    commands = tuple((name, _line(helps.get(name, ""))) for name in below)
    yield Words(path, commands, tuple(options), tuple(values), tuple(choices))
    for name, inner in below.items():
        yield from words_of(inner, f"{path} {name}".strip())


def _line(text: str | None) -> str:
    return " ".join((text or "").replace("%%", "%").split())


def _bash(rows: list[Words]) -> str:
    lines = [
        "# bash completion of mxgw; made by `mxgw completion bash`",
        "_mxgw() {",
        '    local word="${COMP_WORDS[COMP_CWORD]}" last="${COMP_WORDS[COMP_CWORD-1]}" path="" one n',
        "    for ((n = 1; n < COMP_CWORD; n++)); do",
        '        one="${COMP_WORDS[n]}"',
        '        case "${path:+$path }$one" in',
        f'            {_alternatives(rows)}) path="${{path:+$path }}$one" ;;',
        "        esac",
        "    done",
        "    COMPREPLY=()",
        *_cases(rows, lambda words: f'COMPREPLY=($(compgen -W {shlex.quote(words)} -- "$word")); return', "return"),
        '    [[ $word == -* ]] || COMPREPLY+=($(compgen -f -- "$word"))',
        "}",
        "complete -o filenames -o bashdefault -F _mxgw mxgw",
    ]
    return "\n".join(lines) + "\n"


def _zsh(rows: list[Words]) -> str:
    lines = [
        "#compdef mxgw",
        "# zsh completion of mxgw; made by `mxgw completion zsh`",
        "_mxgw() {",
        '    local word="${words[CURRENT]}" last="${words[CURRENT-1]}" mxgw_path="" one n',
        "    for ((n = 2; n < CURRENT; n++)); do",
        '        one="${words[n]}"',
        '        case "${mxgw_path:+$mxgw_path }$one" in',
        f'            {_alternatives(rows)}) mxgw_path="${{mxgw_path:+$mxgw_path }}$one" ;;',
        "        esac",
        "    done",
        *_cases(rows, lambda words: f"compadd -- {words}; return", "_files; return", "mxgw_path"),
        "    _files",
        "}",
        "if [[ $funcstack[1] == _mxgw ]]; then _mxgw; else compdef _mxgw mxgw; fi",
    ]
    return "\n".join(lines) + "\n"


def _alternatives(rows: list[Words]) -> str:
    return "|".join(f'"{row.path}"' for row in rows if row.path)


def _cases(rows: list[Words], offer: Callable[[str], str], files: str, path: str = "path") -> list[str]:
    """First the value of an option, then what may stand next; falls through to files."""
    lines = [f'    case "${path}" in']
    for row in rows:
        lines.append(f'        "{row.path}")')
        if row.values:
            lines.append('            case "$last" in')
            for names, choices in row.values:
                what = offer(" ".join(choices)) if choices else _files_of(files)
                lines.append(f"                {'|'.join(names)}) {what} ;;")
            lines.append("            esac")
        options = " ".join(name for name, _ in row.options)
        lines.append(f'            if [[ "$word" == -* ]]; then {offer(options)}; fi')
        if row.commands or row.choices:
            lines.append(f"            {offer(' '.join((*(name for name, _ in row.commands), *row.choices)))} ;;")
        else:
            lines.append("            ;;")
    return [*lines, "    esac"]


def _files_of(files: str) -> str:
    return files if files != "return" else 'COMPREPLY=($(compgen -f -- "$word")); return'


def _fish(rows: list[Words]) -> str:
    lines = [
        "# fish completion of mxgw; made by `mxgw completion fish`",
        "function __mxgw_at --description 'whether the words typed so far are this command'",
        "    set --local path",
        "    for one in (commandline -opc)[2..]",
        "        string match --quiet -- '-*' $one; and continue",
        f'        contains -- (string join " " $path $one) {" ".join(shlex.quote(r.path) for r in rows if r.path)}',
        "        and set --append path $one",
        "    end",
        '    test "$path" = "$argv"',
        "end",
        "complete --command mxgw --erase",
    ]
    for row in rows:
        when = f"complete --command mxgw --condition {shlex.quote(f'__mxgw_at {row.path}'.strip())}"
        for name, text in row.commands:
            lines.append(f"{when} --no-files --arguments {name} --description {shlex.quote(text)}")
        if row.choices:
            lines.append(f"{when} --no-files --arguments {shlex.quote(' '.join(row.choices))}")
        valued = {name: choices for names, choices in row.values for name in names}
        for name, text in row.options:
            kind = "--long-option" if name.startswith("--") else "--short-option"
            value = ""
            if name in valued:
                choices = valued[name]
                value = " --require-parameter --force-files"
                if choices:
                    value = f" --require-parameter --no-files --arguments {shlex.quote(' '.join(choices))}"
            lines.append(f"{when} {kind} {name.lstrip('-')}{value} --description {shlex.quote(text)}")
    return "\n".join(lines) + "\n"


SHELLS: Final = {"bash": _bash, "zsh": _zsh, "fish": _fish}
