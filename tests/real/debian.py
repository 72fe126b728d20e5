"""Real programs of Debian packages: their path, or a skip that nobody can overlook (a failure under MXGW_REQUIRE_REAL)."""

from __future__ import annotations

import os
import shutil

import pytest

PACKAGES = {
    "postfix": "postfix",
    "dovecot": "dovecot-core",
    "swaks": "swaks",
    "redis-server": "redis-server",
    "nsd": "nsd",
    "unbound": "unbound",
    "named-checkzone": "bind9-utils",
    "dig": "bind9-dnsutils",
    "nslookup": "bind9-dnsutils",
    "openssl": "openssl",
    "testssl": "testssl.sh",
    "haproxy": "haproxy",
    "nginx": "nginx",
    "nft": "nftables",
    "ip": "iproute2",
    "exim4": "exim4-daemon-light",
    "setpriv": "util-linux",
    "strace": "strace",
    "systemd-analyze": "systemd",
    "systemd-sysusers": "systemd",
    "systemd-tmpfiles": "systemd",
    "keepalived": "keepalived",
    "bird": "bird2",
    "birdc": "bird2",
    "curl": "curl",
    "chromium": "chromium",
    "zsh": "zsh",
    "fish": "fish",
    "unbound-checkconf": "unbound",
}
"""Program -> package; the packages stand in deploy/debian-packages.txt."""

MISSING = "real component missing:"


def need(program: str) -> str:
    """The path of a program; daemons lie in sbin folders that PATH may lack."""
    path = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin")
    if path is None:
        pytest.skip(f"{MISSING} {program} (Debian package {PACKAGES.get(program, program)})")
    return path
