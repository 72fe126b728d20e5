"""``mxgw check-config``: everything that is wrong with a settings file and its policy; 78 when something is.

Known gaps: resolvers, store and mailstores are not asked whether they are there.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from gateway.cli.output import faults_json, output_argument, settings_path, show_faults, show_json
from gateway.cli.sysexits import CONFIG, OK


def arguments(parser: argparse.ArgumentParser) -> None:
    """``FILE`` and ``--output``."""
    parser.add_argument("file", nargs="?", type=Path, metavar="FILE", help="settings file; default as for `run`")
    parser.add_argument(
        "--config", dest="named", type=Path, metavar="FILE", help="the same, as other commands write it"
    )
    output_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Print a summary or the faults."""
    from gateway.config import load_settings
    from gateway.yamlfile import FaultsError

    path = settings_path(args.file or args.named)
    try:
        # the unit's ExecReload is the node's own user, who need not be able to read what systemd gives him
        settings = load_settings(path, os.environ, node=True)
    except FaultsError as error:
        if args.output == "json":
            show_json("check-config", {"file": str(path), "ok": False, "faults": faults_json(error)})
        else:
            show_faults(error)
        return CONFIG
    listeners = [listener.address for listener in settings.listeners]
    domains = sum(len(route.domains) for route in settings.routes)
    if args.output == "json":
        show_json(
            "check-config",
            {
                "file": str(path),
                "ok": True,
                "faults": [],
                "warnings": list(settings.warnings),
                "listeners": listeners,
                "domains": domains,
            },
        )
    else:
        routes = len(settings.routes)
        print(f"{path}: OK; {settings.hostname} on {', '.join(listeners)}, {domains} domains in {routes} routes")
        for warning in settings.warnings:
            print(f"warning: {warning}")
    return OK
