"""An example or more for each command: ``--help`` and docs/cli.md show them, the tests parse and run them.

Known gaps: none.
"""

from __future__ import annotations

from typing import Final

EXAMPLES: Final[dict[str, tuple[str, ...]]] = {
    "run": ("--config /etc/mxgw/gateway.yaml",),
    "check-config": ("/etc/mxgw/gateway.yaml", "-o json"),
    "config show": ("--diff-default",),
    "config schema": ("",),
    "policy schema": ("",),
    "policy check": ("policies/default.yaml",),
    "policy test": ("policies/cases",),
    "policy digest": ("policies/default.yaml",),
    "policy show": ("", "policies/default.yaml"),
    "policy push": ("policy.yaml --reason OPS-812 --wait", "policy.yaml --reason OPS-812 --canary mx3 --wait"),
    "policy unpush": ("--reason OPS-813",),
    "policy rollback": ("--reason OPS-814",),
    "policy rollout": ("",),
    "policy history": ("--limit 10",),
    "policy diff": ("policy.yaml", "policy.yaml --since 24h"),
    "policy shadow": ("policy.yaml --for 24h", "", "--stop"),
    "cluster status": ("", "-o json"),
    "cluster drain": ('mx3 --reason "new disk" --wait 60',),
    "cluster undrain": ("mx3",),
    "cluster forget": ("mx3",),
    "cluster verify": ("",),
    "cluster skew": ("--since 24h", "--by network"),
    "explain": ("--ip 192.0.2.7 --helo mail.example.org --from anna@example.org --rcpt bob@example.com",),
    "track": ("--to bob@example.com --since 24h", "--ip 192.0.2.0/24 --verdict reject -o jsonl"),
    "trace": ("--ip 192.0.2.0/24 --once",),
    "tail": ("--verdict reject --for 10m",),
    "replay": ("journal.jsonl --policy policy.yaml",),
    "send": ("--to bob@example.com --server 127.0.0.1:2525",),
    "rcpt check": ("bob@example.com",),
    "rcpt flush": ("bob@example.com", "example.com"),
    "block": ('192.0.2.0/24 --for 4h --reason "floods us"', "bad.example"),
    "unblock": ("192.0.2.0/24",),
    "blocks": ("", "192.0.2.7"),
    "limits show": ("192.0.2.7",),
    "limits reset": ("192.0.2.7",),
    "greylist list": ("", "example.org"),
    "greylist check": ("--ip 192.0.2.7 --from anna@example.org --to bob@example.com",),
    "greylist allow": ("192.0.2.0/24 --reason partner",),
    "greylist pass": ("--ip 192.0.2.7 --from anna@example.org --to bob@example.com",),
    "greylist clear": ("--ip 192.0.2.7 --from anna@example.org --to bob@example.com",),
    "greylist stats": ("",),
    "greylist seed": ("maillog --dry-run",),
    "rbl check": ("192.0.2.7", "spam.example"),
    "rbl health": ("",),
    "rbl own": ("",),
    "drill": ("list",),
    "doctor": ("", "--config /etc/mxgw/gateway.yaml"),
    "doctor mailstore": ("",),
    "doctor bypass": ("--domain example.com",),
    "check-domain": ("example.com",),
    "probe": ("example.com", "mx1.example.com --connections 5"),
    "dns-records": ("example.com",),
    "tlsa show": ("",),
    "tlsa check": ("mx1.example.com",),
    "tlsa plan": ("",),
    "mta-sts render": ("",),
    "mta-sts check": ("example.com",),
    "spf": ("192.0.2.7 mail.example.org anna@example.org",),
    "dkim": ("message.eml",),
    "dmarc": ("example.org --spf example.org",),
    "authres": ("message.eml",),
    "completion": ("bash",),
    "version": ("",),
}
"""Command -> what stands after it. The first is run by the tests in all kinds of bad surroundings."""


def lines_for(path: str) -> list[str]:
    """The examples of a command (its words after mxgw) as one types them."""
    return [f"mxgw {path} {words}".rstrip() for words in EXAMPLES.get(path, ())]


def shown_for(prog: str) -> str:
    """The end of the help of ``prog`` (``mxgw`` and the command); empty where there is nothing to show."""
    path = prog.removeprefix("mxgw").strip()
    lines = lines_for(path) if path else ["mxgw check-config", "mxgw doctor", "mxgw cluster status -o json"]
    if not lines:
        lines = [line for name in EXAMPLES if name.startswith(f"{path} ") for line in lines_for(name)[:1]]
    return "\nexamples:\n" + "".join(f"  {line}\n" for line in lines) if lines else ""
