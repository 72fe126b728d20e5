"""Every command that the docs show is run here against a real node, or at least read by the real parser."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from node_process import NodeProcess

from gateway.cli.main import COMMANDS, main
from gateway.cli.tree import leaves, whole_parser

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("docs/**/*.md"), ROOT / "README.md", ROOT / "helm" / "mxgw" / "README.md"])
PREFIX = re.compile(
    r"^\s*(?:\$ |(?:[*/0-9]+ +){5}|kubectl [^|]* -- |sudo |[A-Z_]+=\S+ )?(?:/opt/mxgw/bin/)?mxgw (?P<words>[a-z].*)$"
)
ONLY_READ = {
    "run": "a node of its own: tests/node",
    "probe": "wants several hosts: tests/outside runs it against four",
    "check-domain": "wants a signed zone and hosts: tests/outside",
    "tlsa check": "the same",
    "mta-sts check": "the same",
    "doctor bypass": "asks hosts on port 25: tests/cli runs it against Postfix",
    "drill": "breaks things: tests/cluster runs all ten; only `drill list` is run here",
    "cluster verify": "takes half a minute: tests/replay and tests/cluster",
    "cluster forget": "there is no dead node here: tests/cluster",
}
"""Commands that are parsed and not run here, and where they are run."""
OTHER_CODES = {
    "doctor": {0, 1, 69},  # DNS of this test is a file, its machine's clock is nobody's
    "tlsa show": {0, 1, 64, 65, 78},  # the node's certificate is its own
    "tlsa plan": {0, 1, 64, 65, 69, 78},
    "mta-sts render": {0, 1, 64, 78},  # not every settings file has a policy
    "spf": {0, 1, 75},
    "dmarc": {0, 1, 75},
    "dkim": {0, 1, 75},
    "rbl health": {0, 1, 69},
    "rbl own": {0, 1, 69},
    "rbl check": {0, 1, 69, 75},
    "policy push": {0, 1, 75},  # 75: the one before is under way still
    "policy unpush": {0, 1, 75},
    "policy rollback": {0, 1, 75},
    "greylist seed": {0, 1, 65},
    "greylist pass": {0, 1, 64},
    "greylist clear": {0, 1, 64},
    "greylist check": {0, 1, 64},
}
"""Beside 0 and 1, what a command may say in the small world of this test."""
ZONE = """\
$ORIGIN example.com.
@ 300 IN MX 10 mx1
mx1 300 IN A 192.0.2.25
25.2.0.192.in-addr.arpa. 300 IN PTR mx1.example.com.
example.org. 300 IN TXT "v=spf1 ip4:192.0.2.0/24 -all"
"""
LEAVES = {parser.prog.removeprefix("mxgw "): parser for parser in leaves(whole_parser())}


@dataclass(frozen=True)
class Shown:
    """A command of a page: its words after mxgw."""

    page: Path
    line: int
    words: tuple[str, ...]

    @property
    def path(self) -> str:
        two = " ".join(self.words[:2])
        return two if two in LEAVES else self.words[0]

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}: mxgw {shlex.join(self.words)}"


def words_of(text: str) -> tuple[str, ...]:
    """Up to the first operator of the shell."""
    reader = shlex.shlex(text, posix=True, punctuation_chars="|&;<>")
    reader.whitespace_split = True
    reader.commenters = "#"
    words: list[str] = []
    for word in reader:
        if set(word) <= set("|&;<>"):
            break
        words.append(word)
    return tuple(words)


def shown() -> list[Shown]:
    found = []
    for page in PAGES:
        inside = False
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
            if line.lstrip().startswith("```"):
                inside = not inside
            elif inside and (match := PREFIX.match(line)):
                found.append(Shown(page, number, words_of(match["words"])))
    return found


ALL = shown()


def test_there_are_commands_and_the_list_of_those_not_run_is_short() -> None:
    assert len(ALL) > 80
    unknown = [str(one) for one in ALL if one.words[0] not in COMMANDS]
    assert unknown == []
    assert len(ONLY_READ) < 10


def test_every_command_in_a_block_is_read_by_the_parser() -> None:
    whole = whole_parser()
    wrong = []
    for one in ALL:
        told = io.StringIO()
        try:
            with contextlib.redirect_stderr(told):
                whole.parse_args(list(one.words))
        except SystemExit as leave:
            if leave.code:
                wrong.append(f"{one}: {told.getvalue().splitlines()[-1]}")
    assert wrong == []


def test_every_command_named_in_a_sentence_exists() -> None:
    """`mxgw ...` between backticks: its first words must be a command and, where it has some, a sub-command of it."""
    groups = {path.split()[0] for path in LEAVES if " " in path}
    wrong = []
    for page in PAGES:
        for words in re.findall(r"`mxgw ([a-z][^`]*)`", page.read_text(encoding="utf-8")):
            first, *rest = words.split()
            known = first in COMMANDS
            if known and first in groups and rest and re.fullmatch(r"[a-z-]+", rest[0]):
                known = f"{first} {rest[0]}" in LEAVES or first in LEAVES or rest[0] in ("nodes", "show|check|plan")
            if not known:
                wrong.append(f"{page.name}: mxgw {words}")
    assert wrong == []


def test_links_between_pages_lead_somewhere() -> None:
    wrong = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for target in re.findall(r"\]\((?!https?:|mailto:)([^)\s#]+)(?:#[^)]*)?\)", text):
            if not (page.parent / target).exists():
                wrong.append(f"{page.relative_to(ROOT)}: {target}")
    assert wrong == []


def test_the_index_names_every_page_and_the_readme_is_short() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert sorted(page for page in pages if f"({page})" not in index) == []
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme.count("\n") <= 80
    assert "docs/README.md" in readme


def test_the_runbook_has_a_section_for_each_alert_and_no_other() -> None:
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "mxgw-alerts.yaml").read_text(encoding="utf-8"))
    alerts = {rule["alert"]: rule for group in rules["groups"] for rule in group["rules"]}
    text = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
    assert set(re.findall(r"(?m)^## (\S+)$", text)) == set(alerts)
    for name, rule in alerts.items():
        assert rule["annotations"]["runbook_url"].endswith(f"docs/runbook.md#{name.lower()}")


def test_metrics_and_rules_that_the_pages_name_exist() -> None:
    known = set(re.findall(r"`(mxgw_[a-z0-9_]+)`", (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")))
    rules = set(
        re.findall(r"record: (\S+)", (ROOT / "deploy/prometheus/mxgw-recording.yaml").read_text(encoding="utf-8"))
    )
    for name in ("runbook", "slo", "capacity", "upgrade", "rto-rpo", "first-day"):
        text = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
        assert set(re.findall(r"`(mxgw_[a-z0-9_]+)", text)) <= known, name
        assert set(re.findall(r"`((?:instance:)?mxgw:[a-z0-9_:]+)`", text)) <= rules, name


class World:
    """A node with a mailbox, and a folder with the files that the docs name."""

    def __init__(self, folder: Path) -> None:
        (folder / "here").mkdir(parents=True)
        self.here = folder / "here"
        own = {"hostname": "mx1.example.com", "secret": "0123456789abcdef0123456789abcdef"}
        self.node = NodeProcess(folder / "node", own | {"workers": 1, "publish": {"reports": "reports@example.net"}})
        self.node.wait_ready()
        shutil.copytree(ROOT / "policies", self.here / "policies")
        observe = (ROOT / "policies" / "observe.yaml").read_text(encoding="utf-8")
        for name in ("policy.yaml", "new.yaml", "candidate.yaml"):
            (self.here / name).write_text(observe)
        (self.here / "message.eml").write_bytes(b"From: anna@example.org\r\nSubject: x\r\n\r\nx\r\n")
        (self.here / "zone").write_text(ZONE)
        (self.here / "node.log").write_text("\n".join(self.node.log))
        for name in ("maillog", "mail.log"):
            (self.here / name).write_text("nothing\n")
        shutil.copyfile(next((ROOT / "gateway" / "evidence").glob("*.jsonl")), self.here / "journal.jsonl")
        self.listening = f"127.0.0.1:{self.node.smtp_port}"

    def words(self, one: Shown) -> list[str]:
        """As shown, with this world's names, and never waiting for long."""
        words = list(one.words)
        for n, word in enumerate(words):
            if word in ("mx2", "mx3", "edge-a"):
                words[n] = "mx1"
            elif word == "/etc/mxgw/gateway.yaml":
                words[n] = str(self.node.config)
            elif words[n - 1] == "--reason":
                words[n] = "docs"
            elif words[n - 1] == "--wait" and word.isdecimal():
                words[n] = "30"
            elif word.endswith((":25", ":2525")) and words[n - 1] == "--server":
                words[n] = self.listening
        known = {name for action in LEAVES[one.path]._actions for name in action.option_strings}
        if "--zone" in known and "--zone" not in words and "--offline" not in words:
            words += ["--zone", "zone"]
        if one.path in ("tail", "trace"):
            words += ["--for", "1s"]
        if one.path in ("track", "cluster skew") and one.page.name != "first-day.md" and "--log" not in words:
            words += ["--log", "node.log"]  # where nothing is on the board it is asked for some seconds
        if "--canary" in words:
            words += ["--watch", "1"]
        return words

    def run(self, one: Shown) -> tuple[int, str]:
        told = io.StringIO()
        with contextlib.redirect_stderr(told), contextlib.redirect_stdout(told), contextlib.chdir(self.here):
            code = main(self.words(one))
        return code, told.getvalue()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    found = World(tmp_path_factory.mktemp("docs"))
    yield found
    found.node.stop()


def runs_here(one: Shown) -> bool:
    if one.path == "drill" and "list" in one.words:
        return True
    return one.path not in ONLY_READ


def test_every_command_runs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MXGW_STORE", "MXGW_SECRET", "MXGW_POLICY", "MXGW_STATE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MXGW_CONFIG", str(world.node.config))
    wrong, slow, seen = [], [], set()
    for one in ALL:
        key = tuple(world.words(one)) if runs_here(one) else ()
        if not key or key in seen:
            continue
        seen.add(key)
        began = time.monotonic()
        code, told = world.run(one)
        slow.append((time.monotonic() - began, str(one)))
        if code not in OTHER_CODES.get(one.path, {0, 1}) or "Traceback" in told:
            wrong.append(f"{one}: {code}: {told[-300:]}")
    print("slowest:", *sorted(slow)[-8:], sep="\n")
    assert len(seen) > 40
    assert wrong == [], "\n".join(wrong)
