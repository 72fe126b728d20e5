"""``mxgw check-domain DOMAIN``: what senders find in DNS, and whether MX, MTA-STS, certificates and TLSA agree.

MX, addresses of both families, PTR, TTLs, SPF, DMARC, MTA-STS, TLS-RPT, DNSSEC and TLSA; then one session with each
address for its certificate. Nothing is sent. For cron: 0 all is well, 1 an error (``--strict``: or a warning), 69
something could not be found out.

Known gaps: DKIM keys need a selector, and belong to those who send: ``mxgw dkim``.
"""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING

from gateway.cli.output import CommandError
from gateway.cli.outward import domain_of, outward_arguments, own_settings, show_report, smtp_lines, with_dns
from gateway.cli.sysexits import USAGE

if TYPE_CHECKING:
    from gateway.config import Settings
    from gateway.outside.report import Line
    from gateway.ports.dns import Resolver


def arguments(parser: argparse.ArgumentParser) -> None:
    """The domain, and what to leave out."""
    parser.add_argument("domain", metavar="DOMAIN")
    parser.add_argument("--ttl", default="300:1800", metavar="FROM:TO", help="seconds that TTLs should be; 300:1800")
    parser.add_argument("--dns-only", action="store_true", help="connect to nobody but name servers")
    parser.add_argument("--strict", action="store_true", help="a warning is an error")
    outward_arguments(parser, https=True)


def run(args: argparse.Namespace) -> int:
    """Look and tell."""
    domain, settings = domain_of(args.domain), own_settings(args)
    match = re.fullmatch(r"(\d{1,9}):(\d{1,9})", args.ttl)
    if match is None:
        raise CommandError(USAGE, "--ttl: must be FROM:TO in seconds, such as 300:1800")
    ttl = (int(match[1]), int(match[2]))
    lines = with_dns(args, settings, lambda dns: _look(args, settings, domain, dns, ttl))
    return show_report(args, "check-domain", {"domain": domain}, lines, args.strict)


async def _look(
    args: argparse.Namespace, settings: Settings | None, domain: str, dns: Resolver, ttl: tuple[int, int]
) -> list[Line]:
    from gateway.node.outward import record_judge
    from gateway.outside import agreement, sts_host
    from gateway.outside.domain import look
    from gateway.outside.hosts import mx_set
    from gateway.outside.records import serves

    found = await mx_set(dns, domain)
    lines = await look(found, dns, record_judge(settings, args.resolver), ttl)
    if settings is not None and settings.publish.mx and serves(settings, domain):
        lines += agreement.settings_and_mx(settings, found)
    if args.dns_only or found.null or not found.exists:
        return lines
    policy, _, more = await sts_host.look(domain, dns, args.https_port, args.ca, args.timeout)
    known = {(line.about, line.subject, line.text) for line in lines}
    lines += [line for line in more if (line.about, line.subject, line.text) not in known]
    if policy is not None:
        lines += agreement.policy_and_mx(found, policy)
    return lines + await smtp_lines(args, settings, found, policy)
