"""``mxgw config show|schema``: the settings in force and where each came from; secrets are never shown.

Known gaps: none.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from typing import Any

from gateway.cli.output import config_argument, output_argument, settings_path, show_columns, show_json
from gateway.cli.sysexits import OK
from gateway.config.masking import MASK, masked


def arguments(parser: argparse.ArgumentParser) -> None:
    """``show`` and ``schema``."""
    actions = parser.add_subparsers(dest="action", metavar="show|schema", required=True)
    show = actions.add_parser("show", help="every setting, its value and its origin")
    config_argument(show)
    output_argument(show)
    show.add_argument("--diff-default", action="store_true", help="only what is not the default")
    actions.add_parser("schema", help="JSON Schema of the settings file")


def run(args: argparse.Namespace) -> int:
    """Print."""
    from gateway.config import load_settings
    from gateway.config.model import settings_schema

    if args.action == "schema":
        print(json.dumps(settings_schema(), indent=2))
        return OK
    settings = load_settings(settings_path(args.config), os.environ)
    rows = []
    for key, value in _flat(settings.model_dump(mode="json"), ""):
        origin = settings.origin.get(key, "default")
        if args.diff_default and origin == "default":
            continue
        shown = MASK if key == "secret" and value else masked(value) if isinstance(value, str) else value
        rows.append((key, shown, origin))
    if args.output == "json":
        values = {key: {"value": value, "origin": origin} for key, value, origin in rows}
        show_json("config-show", {"settings": values})
    else:
        show_columns([("KEY", "VALUE", "FROM"), *((key, _text(value), origin) for key, value, origin in rows)])
    return OK


def _text(value: object) -> str:
    return "-" if value in (None, "", [], {}) else str(value).lower() if isinstance(value, bool) else str(value)


def _flat(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _flat(inner, f"{key}.{name}" if key else name)
    elif isinstance(value, list) and value:
        for n, inner in enumerate(value):
            yield from _flat(inner, f"{key}[{n}]")
    else:
        yield key, value
