"""The house rules that a machine can check: who imports whom, how big files are, what they are called."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from gateway.checks import CHECKS
from gateway.policy.settings import ChecksSettings

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "gateway").rglob("*.py"))
CORE = {"mail", "yamlfile", "__init__"}
MAY = {
    "mail": set(),
    "ports": set(),
    "yamlfile": set(),
    "policy": set(),
    "auth": {"policy"},
    "checks": {"policy", "auth", "ports"},
    "pipeline": {"checks", "policy", "ports", "auth"},
    "delivery": {"checks", "policy", "ports", "auth"},
    "cluster": {"checks", "policy", "ports", "auth"},
    "evidence": {"pipeline", "delivery", "cluster", "checks", "policy", "ports", "reception"},
    "services": {"pipeline", "delivery", "policy", "ports"},
    "acceptance": {"services", "pipeline", "delivery", "evidence", "policy", "ports"},
    "reception": {"acceptance", "services", "pipeline", "delivery", "evidence", "policy", "ports"},
    "smtp": {"reception", "pipeline", "delivery", "cluster", "policy", "ports"},
    "adapters": {"ports"},
    "drills": {"ports"},
    "ops": {"ports"},
    "web": {"ops", "cluster", "evidence", "config", "policy", "ports"},
    "outside": {"config", "ports", "smtp"},
    "config": {"delivery", "policy"},
}
"""Part of the tree -> the other parts it may import; mail and yamlfile are everybody's. cli and node may import all
but that adapters are node's alone."""
BROAD = {
    *("gateway/cluster/agent.py", "gateway/checks/run.py", "gateway/cli/main.py", "gateway/smtp/session.py"),
    *("gateway/reception.py", "gateway/node/crew.py"),
}
"""Where ``except Exception`` may stand, always with a log: the runner of checks, the door through which every error of
a command leaves, the outermost net of a session, the record of what has happened already, and what a worker reports.
Elsewhere only to clean up and raise again."""
FORBIDDEN = re.compile(r"(?:^|_)(?:utils?|helpers?|common|managers?|misc)(?:_|$)")


def part(path: Path) -> str:
    relative = path.relative_to(ROOT / "gateway")
    return relative.parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            if node.module == "gateway":
                found.update(f"gateway.{alias.name}" for alias in node.names)
    return found


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def own_parts(path: Path) -> set[str]:
    words = {module.split(".")[1] for module in imports(path) if module.startswith("gateway.")}
    return words - CORE - {"__version__", part(path)}


@pytest.mark.parametrize("path", FILES, ids=name)
def test_imports_go_inwards_only(path: Path):
    where = part(path)
    if where in MAY:
        assert own_parts(path) <= MAY[where]
    elif where != "node":
        assert "adapters" not in own_parts(path)


def test_policy_and_auth_and_mail_never_wait():
    for path in FILES:
        if part(path) in ("policy", "auth", "mail"):
            assert "asyncio" not in {module.split(".")[0] for module in imports(path)}, name(path)


@pytest.mark.parametrize("path", FILES, ids=name)
def test_files_are_small_described_and_well_named(path: Path):
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 400
    assert not FORBIDDEN.search(path.stem)
    if path.name not in ("__init__.py", "__main__.py"):
        assert "Known gaps:" in (ast.get_docstring(ast.parse(text)) or "")


def _raises_again(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


@pytest.mark.parametrize("path", FILES, ids=name)
def test_no_broad_except(path: Path):
    if name(path) in BROAD:
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ExceptHandler) and not _raises_again(node):
            caught = ast.unparse(node.type) if node.type else "everything"
            assert caught not in ("Exception", "BaseException", "everything"), f"line {node.lineno}"


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: f"{check.name}-{check.phase.value}")
def test_each_check_has_settings_and_vocabulary(check):
    from gateway.policy import vocabulary

    assert ChecksSettings().of(check.name) is not None
    assert f'"{check.name}"' in Path(vocabulary.__file__).read_text(encoding="utf-8")


def test_nothing_unfinished():
    pattern = re.compile(r"\b(?:TODO|FIXME|XXX|NotImplementedError)\b")
    assert not [name(path) for path in FILES if pattern.search(path.read_text(encoding="utf-8"))]
