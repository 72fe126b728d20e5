"""Nodes that ask a real name server about lists whose zones change under them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

from gateway.policy.load import load_packaged

sys.path.insert(0, str(Path(__file__).parents[1] / "limits"))
sys.path.insert(0, str(Path(__file__).parents[1] / "real"))
from dns_server import NsdServer
from limits_world import QUICK, command, try_to_send, until
from mail_world import DEFAULT_POLICY
from node_process import NodeProcess
from redis_server import RedisServer

__all__ = ["QUICK", "NodeProcess", "NsdServer", "RedisServer", "command", "load_packaged", "try_to_send", "until"]

SOUND = "2.0.0.127 1 A 127.0.0.2\n"
WORLD = "* 1 A 127.0.0.2\n"
WATCH = {"check_every": 0.2, "node_check_every": 2, "back_after": 10, "own_every": 1}


def policy(sites: list[str], **dnsbl: Any) -> str:
    """The packaged policy with lists that are looked at often; no check asks DNS for anything else."""
    found = yaml.safe_load(DEFAULT_POLICY.read_text(encoding="utf-8"))
    off = {key: {"enabled": False} for key in ("iprev", "helo", "spf", "rate", "dkim", "dmarc", "arc")}
    found["checks"] = {"dnsbl": {"sites": sites, **WATCH, **dnsbl}, "greylist": {"mode": "off"}, **off}
    used = ("emergency-block", "dnsbl-reject")
    found["rules"] = [rule for rule in found["rules"] if rule["id"] in used]
    return yaml.safe_dump(found, sort_keys=False)


def node(folder: Path, server: NsdServer, text: str, **settings: Any) -> NodeProcess:
    dns = {"servers": [f"127.0.0.1:{server.port}"], "timeout": 1}
    return NodeProcess(folder, {"dns": dns, "store": "memory://", "workers": 1, **QUICK, **settings}, text)


def states(one: NodeProcess, name: str) -> list[str]:
    """The states of a list that the node's log tells of, in their order."""
    return [line["state"] for line in one.events("rbl") if line.get("list") == name and "state" in line]


def state_is(one: NodeProcess, name: str, state: str) -> bool:
    return states(one, name)[-1:] == [state]
