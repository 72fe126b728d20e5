"""``mxgw``: the table of commands, the exit codes, and the door through which every error leaves.

Exit codes are those of sysexits(3): 0 fine, 1 ran well and the answer is no, 64 usage, 65 bad input, 66 no such file,
69 not reachable, 70 our fault, 75 try again, 78 settings or policy are wrong. A mistake of the operator never shows a
traceback.

Known gaps: none.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from gateway import __version__
from gateway.cli.output import CommandError, printable, show_faults
from gateway.cli.sysexits import CONFIG, INTERRUPTED, OK, SOFTWARE, USAGE

COMMANDS = {
    "run": ("gateway.cli.run", "run the node in the foreground"),
    "check-config": ("gateway.cli.check_config", "report everything that is wrong with a settings file"),
    "config": ("gateway.cli.config", "show the settings in force, or their schema"),
    "policy": ("gateway.cli.policy", "check, test and show policies, and roll them out"),
    "cluster": ("gateway.cli.cluster", "the nodes and whether they are alike; drain one, let it serve again"),
    "explain": ("gateway.cli.explain", "say what would happen to a message, or why a decision was made: explain ID"),
    "track": ("gateway.cli.track", "find messages by address, client, Message-ID or the id of a reply"),
    "trace": ("gateway.cli.trace", "look at the dialogs of a client while they happen"),
    "tail": ("gateway.cli.tail", "show decisions as they are made"),
    "replay": ("gateway.cli.replay", "live recorded transactions again, offline, and show each difference"),
    "send": ("gateway.cli.send", "send one message and show the dialog"),
    "rcpt": ("gateway.cli.rcpt", "ask for a recipient, or forget what is known of one"),
    "block": ("gateway.cli.block", "shut a client, network, domain or mailbox out on all nodes for a while"),
    "unblock": ("gateway.cli.unblock", "lift such a block"),
    "blocks": ("gateway.cli.blocks", "list such blocks"),
    "limits": ("gateway.cli.limits", "what a client, a domain or a recipient has used of its limits; reset that"),
    "greylist": ("gateway.cli.greylist", "who waits, who would, and how to let somebody pass"),
    "rbl": ("gateway.cli.rbl", "ask block lists, look at their health, and for our own addresses on them"),
    "drill": ("gateway.cli.drill", "break something on purpose, and see what becomes of the mail"),
    "doctor": ("gateway.cli.doctor", "look at what stands behind the node, and for ways around it"),
    "check-domain": ("gateway.cli.check_domain", "what senders find in DNS, and whether it agrees with what is served"),
    "probe": ("gateway.cli.probe", "visit every address of every MX several times; a difference is an error"),
    "dns-records": ("gateway.cli.dns_records", "print what to publish in DNS"),
    "tlsa": ("gateway.cli.tlsa", "TLSA records of our keys: print, compare, plan a key's replacement"),
    "mta-sts": ("gateway.cli.mta_sts", "the MTA-STS policy: print it, compare it with what is published"),
    "spf": ("gateway.cli.spf", "may this client use that domain?"),
    "dkim": ("gateway.cli.dkim", "do the signatures of a message hold?"),
    "dmarc": ("gateway.cli.dmarc", "which DMARC policy applies to a domain?"),
    "authres": ("gateway.cli.authres", "what do a message's Authentication-Results say, and what would ours?"),
    "completion": ("gateway.cli.completion", "print a script that completes commands, for bash, zsh or fish"),
    "version": ("gateway.cli.version", "show the version"),
}
"""Command -> module and help. A module is imported when its command is called, so that --help stays quick."""


class Parser(argparse.ArgumentParser):
    """argparse with the exit code of sysexits."""

    def format_help(self) -> str:
        """argparse's own text, and examples."""
        from gateway.cli.examples import shown_for

        return super().format_help() + shown_for(self.prog)

    def error(self, message: str) -> NoReturn:
        """Say what was wrong with the command line and leave with 64."""
        self.print_usage(sys.stderr)
        self.exit(USAGE, f"{self.prog}: {printable(message)}\n")


def parser_for(argv: Sequence[str]) -> Parser:
    """The parser with the arguments of the one command that ``argv`` names."""
    called = next((word for word in argv if not word.startswith("-")), None)
    return parser_with((called,) if called else ())


def parser_with(names: Sequence[str]) -> Parser:
    """The parser of all commands, with the arguments of those named."""
    parser = Parser(prog="mxgw", description="The inbound edge of e-mail.")
    parser.add_argument("--version", action="version", version=f"mxgw {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)
    for name, (module, text) in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        if name in names:
            importlib.import_module(module).arguments(command)
            command.set_defaults(module=module)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. argv: without the program's name; default: the process's. Returns the exit code."""
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        args = parser_for(words).parse_args(words)
        code = importlib.import_module(args.module).run(args)
        sys.stdout.flush()
        return int(code)
    except SystemExit as leave:
        return leave.code if isinstance(leave.code, int) else OK
    except CommandError as error:
        print("mxgw:", "\n".join(map(printable, str(error).split("\n"))), file=sys.stderr)
        return error.code
    except BrokenPipeError:
        # the reader (head, less) has gone; Python would complain again when it flushes at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        from gateway.yamlfile import FaultsError

        if isinstance(error, FaultsError):
            show_faults(error)
            return CONFIG
        logging.getLogger("mxgw").exception("internal error, please report it")
        return SOFTWARE
