"""All commands with their arguments as one tree of parsers, for completion and for docs/cli.md.

Known gaps: none.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence


def whole_parser() -> argparse.ArgumentParser:
    """The parser of ``mxgw`` with every command's arguments."""
    from gateway.cli.main import COMMANDS, parser_with

    return parser_with(tuple(COMMANDS))


def leaves(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parsers below, and the parser itself, that take no more sub-commands; each once."""
    below = sub_commands(parser)
    if not below or any(action.required is False for action in parser._actions if _is_sub(action)):
        yield parser
    for inner in below:
        yield from leaves(inner)


def sub_commands(parser: argparse.ArgumentParser) -> Sequence[argparse.ArgumentParser]:
    """The parsers directly below; one with several names once."""
    return tuple(dict.fromkeys(inner for action in parser._actions if _is_sub(action) for inner in _inner(action)))


def _is_sub(action: argparse.Action) -> bool:
    return isinstance(action, argparse._SubParsersAction)


def _inner(action: argparse.Action) -> Sequence[argparse.ArgumentParser]:
    return tuple(action.choices.values()) if isinstance(action.choices, dict) else ()


def usage_text(parser: argparse.ArgumentParser) -> str:
    """What it takes, as lines of a list for docs/cli.md: no width of a terminal is in it."""
    lines = []
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        name = ", ".join(action.option_strings) or str(action.metavar or action.dest)
        value = ""
        if action.option_strings and action.nargs != 0:
            value = " " + ("|".join(map(str, action.choices)) if action.choices else _metavar(action))
        told = " ".join((action.help or "").replace("%%", "%").split())
        need = "needed; " if action.option_strings and action.required else ""
        lines.append("| `{}` | {} |".format((name + value).replace("|", r"\|"), (need + told).replace("|", r"\|")))
    return "\n".join(lines)


def _metavar(action: argparse.Action) -> str:
    return str(action.metavar or action.dest.upper())
