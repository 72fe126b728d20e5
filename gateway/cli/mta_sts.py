"""``mxgw mta-sts``: the policy of the settings (``render``), and whether what is published agrees with it (``check``).

``check`` fetches the policy as senders do, from every address of mta-sts.DOMAIN, and compares MX hosts, mx lines and
the certificates that the MX hosts serve. Leaves with 0, 1 for an error, 69 where something could not be found out.

Known gaps: none.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli.output import CommandError, config_argument, output_argument, show_json
from gateway.cli.outward import (
    domain_of,
    needed_settings,
    outward_arguments,
    own_settings,
    show_report,
    smtp_lines,
    with_dns,
)
from gateway.cli.sysexits import CONFIG, DATAERR, OK

if TYPE_CHECKING:
    from gateway.config import Settings
    from gateway.outside.report import Line
    from gateway.ports.dns import Resolver


def arguments(parser: argparse.ArgumentParser) -> None:
    """render and check."""
    kinds = parser.add_subparsers(dest="kind", metavar="WHAT", required=True)
    render = kinds.add_parser("render", help="print the policy file of the settings, or write it")
    render.add_argument("--out", type=Path, metavar="DIR", help="write DIR/.well-known/mta-sts.txt, for a web server")
    config_argument(render)
    output_argument(render)
    check = kinds.add_parser("check", help="compare record, policy, MX hosts and certificates")
    check.add_argument("domain", metavar="DOMAIN")
    check.add_argument("--no-smtp", action="store_true", help="do not connect to the MX hosts")
    outward_arguments(check, https=True)


def run(args: argparse.Namespace) -> int:
    """Do it."""
    return _render(args) if args.kind == "render" else _check(args)


def _render(args: argparse.Namespace) -> int:
    from gateway.outside.mta_sts import PATH
    from gateway.outside.records import sts_policy

    policy = sts_policy(needed_settings(args))
    if policy is None:
        raise CommandError(CONFIG, "the settings have no mta_sts; its keys are in docs/settings.md")
    if args.out is not None:
        file = args.out / PATH.removeprefix("/")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(policy.text.encode())
        except OSError as error:
            raise CommandError(DATAERR, f"{file}: {error.strerror}") from error
    if args.output == "json":
        show_json("mta-sts-render", {"policy": policy.text, "id": policy.id, "record": policy.record})
    elif args.out is not None:
        print(f"{file} written; publish at _mta-sts.DOMAIN: {policy.record}")
    else:
        print(policy.text.replace("\r\n", "\n"), end="")
    return OK


def _check(args: argparse.Namespace) -> int:
    domain, settings = domain_of(args.domain), own_settings(args)
    lines = with_dns(args, settings, lambda dns: _look(args, settings, domain, dns))
    return show_report(args, "mta-sts-check", {"domain": domain}, lines)


async def _look(args: argparse.Namespace, settings: Settings | None, domain: str, dns: Resolver) -> list[Line]:
    from gateway.outside import agreement, sts_host
    from gateway.outside.hosts import mx_set
    from gateway.outside.records import sts_policy
    from gateway.outside.report import error

    found = await mx_set(dns, domain)
    policy, identity, lines = await sts_host.look(domain, dns, args.https_port, args.ca, args.timeout)
    if policy is None:
        # a domain that is asked for its policy and has none is no "maybe"
        return [*lines, error("mta-sts", domain, "senders find no policy")] if not identity else lines
    ours = sts_policy(settings) if settings else None
    if ours is not None and ours != policy:
        lines.append(error("mta-sts", domain, "the policy that is served is not that of the settings"))
    if ours is not None and ours == policy and ours.id != identity:
        text = f"the id is {identity}, that of the settings' policy is {ours.id}: senders do not see that it changed"
        lines.append(error("mta-sts", domain, text))
    lines += agreement.policy_and_mx(found, policy)
    return lines if args.no_smtp else lines + await smtp_lines(args, settings, found, policy)
