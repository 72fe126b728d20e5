"""``mxgw rcpt``: what is kept and what the mailstore says, and that flushing makes a new mailbox work at once."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
import yaml

from gateway.adapters.clock_system import SystemClock
from gateway.adapters.store_near import NearStore
from gateway.adapters.store_open import open_store
from gateway.checks.recipient_cache import may_be_near, remember, remembered
from gateway.cli.main import main
from gateway.mail.address import Mailbox
from gateway.policy.settings import RecipientSettings
from gateway.ports.mailstore import Known, RecipientStatus
from tests.real.mail_world import scripted_mailstore

USER, GONE = Mailbox("user", "example.com"), Mailbox("gone", "example.com")
UNKNOWN = "550 5.1.1 no such user"


class Site:
    """A folder with a settings file and the store of its nodes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.state.mkdir()

    def write(self, mailstore: str, **route: object) -> None:
        routes = [{"domains": ["example.com"], "mailstore": mailstore, **route}]
        text = yaml.safe_dump({"state_dir": str(self.state), "routes": routes})
        (self.folder / "gateway.yaml").write_text(text)

    def near(self) -> NearStore:
        """As a worker has it."""
        return NearStore(open_store(f"sqlite:///{self.state}/store.sqlite3", self.state, SystemClock()), SystemClock(), keep=may_be_near)

    def keep(self, mailbox: Mailbox, known: Known) -> None:
        async def put() -> None:
            store = self.near()
            await remember(store, SystemClock(), mailbox, RecipientStatus(known, "said before"), RecipientSettings())
            await store.close()

        asyncio.run(put())

    def kept(self, *mailboxes: Mailbox) -> list[bool]:
        async def get() -> list[bool]:
            store = self.near()
            found = [await remembered(store, SystemClock(), mailbox) is not None for mailbox in mailboxes]
            await store.close()
            return found

        return asyncio.run(get())


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    for name in ("MXGW_CONFIG", "MXGW_STORE", "MXGW_SECRET", "MXGW_POLICY", "MXGW_STATE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return Site(tmp_path)


def test_check_shows_what_is_kept_and_what_the_mailstore_says(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.keep(GONE, Known.YES)
    with scripted_mailstore({"RCPT": UNKNOWN}) as store:
        site.write(f"smtp://127.0.0.1:{store.port}")
        assert main(["rcpt", "check", "gone@example.com"]) == 1
        told = capsys.readouterr().out
        assert [line.split()[:2] for line in told.splitlines()] == [
            ["SOURCE", "KNOWN"], ["kept", "yes"], [f"smtp://127.0.0.1:{store.port}", "no"],
        ]
        assert "in use: said before" in told
        assert UNKNOWN in told
        assert "DATA" not in store.commands
        assert main(["rcpt", "check", "gone@example.com", "--output", "json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["schema"] == "mxgw/v1/rcpt-check"
    assert (told["cache"]["known"], told["cache"]["fresh"]) == ("yes", True)
    assert [answer["known"] for answer in told["answers"]] == ["no"]
    assert site.kept(GONE) == [True]  # looking changes nothing


def test_check_tells_of_a_mailstore_that_is_away_and_of_one_that_knows(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.write("smtp://127.0.0.1:9")
    assert main(["rcpt", "check", "user@example.com"]) == 75
    assert "nobody can say" in capsys.readouterr().out
    with scripted_mailstore() as store:
        site.write(f"smtp://127.0.0.1:{store.port}")
        assert main(["rcpt", "check", "user@example.com"]) == 0
    assert "nothing is kept" in capsys.readouterr().out


def test_check_reads_the_routes_own_list(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    (site.folder / "people.txt").write_text("user@example.com\n")
    for form in ({"list": ["user@example.com"]}, {"file": "people.txt"}):
        site.write("smtp://127.0.0.1:9", recipients=form)
        assert main(["rcpt", "check", "USER@example.com"]) == 0
        assert main(["rcpt", "check", "gone@example.com"]) == 1
        assert "not listed" in capsys.readouterr().out


@pytest.mark.parametrize(("words", "code"), [
    (["check", "nobody"], 64),
    (["flush", "nobody@"], 64),
    (["flush", "no domain"], 64),
    (["check", "user@elsewhere.example"], 1),
    (["check"], 64),
    ([], 64),
])
def test_mistakes_are_told_without_a_traceback(
    site: Site, capsys: pytest.CaptureFixture[str], words: list[str], code: int
) -> None:
    site.write("smtp://127.0.0.1:9")
    assert main(["rcpt", *words]) == code
    told = capsys.readouterr()
    assert "mxgw" in told.err
    assert "Traceback" not in told.err


def test_flush_forgets_an_address_a_domain_or_all(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.write("smtp://127.0.0.1:9")
    other = Mailbox("user", "example.net")
    for word, left in (("gone@example.com", [True, False, True]), ("example.com", [False, False, True]),
                       ("", [False, False, False])):
        for mailbox in (USER, GONE, other):
            site.keep(mailbox, Known.NO)
        assert main(["rcpt", "flush", *word.split()]) == 0
        assert "forgotten" in capsys.readouterr().out
        assert site.kept(USER, GONE, other) == left
    assert main(["rcpt", "flush", "example.com", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"schema": "mxgw/v1/rcpt-flush", "forgotten": "example.com"}


def test_what_each_worker_keeps_for_itself_cannot_be_flushed(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    site.write("smtp://127.0.0.1:9")
    monkeypatch.setenv("MXGW_STORE", "memory://")
    assert main(["rcpt", "flush"]) == 69
    assert "restart the node" in capsys.readouterr().err


def test_a_worker_that_runs_forgets_a_refusal_at_once(site: Site) -> None:
    """The refusal may not be kept near: a new mailbox must work after a flush on another node."""
    site.write("smtp://127.0.0.1:9")

    async def world() -> None:
        worker, clock = site.near(), SystemClock()
        for flushed in ("gone@example.com", "example.com", "", "example.com"):
            await remember(worker, clock, GONE, RecipientStatus(Known.NO, "550"), RecipientSettings())
            assert await remembered(worker, clock, GONE)
            assert await asyncio.to_thread(main, ["rcpt", "flush", *flushed.split()]) == 0
            assert await remembered(worker, clock, GONE) is None, flushed
        await worker.close()

    asyncio.run(world())
