"""``mxgw dns-records DOMAIN``: what to publish for a domain and the MX hosts, as the settings say it.

MX, addresses, PTR, SPF, DMARC, TLS-RPT, MTA-STS and TLSA (of the current and the next key), in the form of a master
file with absolute names, or JSON; 1 where no route serves the domain. DNS is not asked: ``mxgw check-domain`` compares.

Known gaps: see ``gateway.outside.records``.
"""

from __future__ import annotations

import argparse

from gateway.cli.output import CommandError, config_argument, output_argument, show_json
from gateway.cli.outward import domain_of, needed_settings
from gateway.cli.sysexits import DATAERR, NEGATIVE, OK


def arguments(parser: argparse.ArgumentParser) -> None:
    """The domain."""
    parser.add_argument("domain", metavar="DOMAIN")
    config_argument(parser)
    output_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Print them."""
    from gateway.outside.own_keys import OwnKeys, own_keys
    from gateway.outside.records import records_for, serves, zone_text

    domain, settings = domain_of(args.domain), needed_settings(args)
    keys, notes = OwnKeys({}, None), []
    try:
        if settings.tls is not None:
            keys = own_keys(settings)
    except ValueError as error:
        raise CommandError(DATAERR, str(error)) from error
    if settings.tls is None:
        notes.append("no TLSA: the settings name no certificate")
    notes += [f"no TLSA of {host}: run mxgw tlsa show on its node" for host, now in keys.current.items() if not now]
    if not settings.publish.mx:
        notes.append(f"publish.mx is not set: {settings.hostname} alone, without addresses")
    if settings.mta_sts is None:
        notes.append("no MTA-STS: the settings have no mta_sts")
    elif not settings.mta_sts.host:
        notes.append(f"mta-sts.{domain} must lead to the web server that has the policy (mta_sts.host is not set)")
    if not serves(settings, domain):
        notes.append(f"no route serves {domain}")
    records = records_for(settings, domain, keys.wanted())
    if args.output == "json":
        values = {"domain": domain, "notes": notes, "records": [record.as_json() for record in records]}
        show_json("dns-records", values)
    else:
        print(zone_text(records, notes), end="")
    return OK if serves(settings, domain) else NEGATIVE
