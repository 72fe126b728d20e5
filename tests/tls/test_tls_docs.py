"""The settings and rules of docs/tls.md are sound as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

from certificates import Authority

from gateway.config import load_settings
from gateway.policy.load import load_text
from gateway.smtp.tls_watch import CAUSES

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "tls.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)


def test_the_settings(tmp_path):
    authority = Authority()
    for stem, kind, name in (
        ("mx", "ecdsa", "mx.example.com"),
        ("mx-rsa", "rsa", "mx.example.com"),
        ("example.net", "ecdsa", "*.example.net"),
    ):
        authority.write(tmp_path / "tls", stem, kind, name)
    file = tmp_path / "gateway.yaml"
    file.write_text("state_dir: state\nroutes: [{domains: [example.com], mailstore: 'smtp://10.1.0.5'}]\n" + BLOCKS[0])
    settings = load_settings(file, {})
    assert settings.tls is not None
    assert len(settings.tls.pairs) == 3
    assert not settings.tls.tickets


def test_the_rules():
    policy = load_text(BLOCKS[1], "docs/tls.md")
    assert {rule.reason for rule in policy.default.rules} == {"tls-required"}


def test_the_causes():
    row = next(line for line in TEXT.splitlines() if line.startswith("| `cause` |"))
    assert {word for word in re.findall(r"`([a-z_]+)`", row) if word != "cause"} <= set(CAUSES)
