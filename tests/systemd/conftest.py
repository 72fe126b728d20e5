"""The node as the units of deploy/systemd run it."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent))

from service import Service


@pytest.fixture
def service() -> Iterator[Service]:
    # a short path: the name of a Unix socket has 108 octets at most
    with tempfile.TemporaryDirectory(prefix="mxgw-") as name:
        folder = Path(name)
        settings = {
            "hostname": "mx.example.com",
            "listeners": [{"address": "0.0.0.0:25", "name": "four"}, {"address": "[::]:25", "name": "six"}],
            "routes": [{"domains": ["example.com"], "mailstore": f"maildir:{folder / 'mail'}"}],
            "dns": {"servers": ["127.0.0.1:9"], "timeout": 0.5},
            "admin": {"address": "127.0.0.1:0"},
            "state_dir": str(folder / "state"),
            "policy": "policy.yaml",
            "workers": 1,
            "limits": {"greeting_delay": 0, "drain_timeout": 5},
        }
        (folder / "gateway.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
        (folder / "policy.yaml").write_text("version: 1\nmode: observe\nrules: []\n", encoding="utf-8")
        running = Service(folder, folder / "gateway.yaml")
        yield running
        running.end()
