"""Lists of recipients in place of callouts: what they say, and that a file is read again and never by halves."""

from __future__ import annotations

import os
from ipaddress import ip_address
from pathlib import Path

import pytest
from parts import relay
from scripted import scripted

from gateway.adapters.dns_broken import BrokenResolver
from gateway.adapters.store_memory import MemoryStore
from gateway.checks.recipient import recipient
from gateway.delivery.recipients_list import AcceptedRecipients, FileRecipients, ListedRecipients, RecipientList
from gateway.delivery.routes import Route, Router
from gateway.mail.address import Mailbox
from gateway.mail.finding import Outcome
from gateway.mail.transaction import Connection, Transaction
from gateway.policy.settings import RecipientSettings
from gateway.ports import Ports
from gateway.ports.mailstore import Known
from gateway.yamlfile import FaultsError


class Clock:
    seconds = 1000.0

    def now(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds


def test_what_a_list_says() -> None:
    listed = RecipientList.of(["Ann@example.org", '"b c"@example.org', "@example.net", "müller@bücher.example"])
    said = {
        text: listed.status(Mailbox(*text.rsplit("@", 1))).known
        for text in (
            "ann@example.org", "ANN@example.org", "b c@example.org", "bob@example.org", "any@example.net",
            "ann@sub.example.net", "müller@xn--bcher-kva.example", "Postmaster@example.org",
        )
    }
    assert list(said.values()) == [
        Known.YES, Known.YES, Known.YES, Known.NO, Known.YES, Known.NO, Known.YES, Known.UNVERIFIABLE,
    ]


def test_every_fault_of_a_file_has_its_line(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("ok@example.org\nbad\n\n# fine\n@\n")
    with pytest.raises(FaultsError) as caught:
        FileRecipients(path, Clock())
    assert [fault.line for fault in caught.value.faults] == [2, 5]
    path.write_bytes(b"\xef\xbb\xbfann@example.org\r\n")  # as PowerShell writes it
    assert FileRecipients(path, Clock())
    path.write_text("# nobody\n")
    with pytest.raises(FaultsError, match="no recipient at all"):
        FileRecipients(path, Clock())


async def test_a_file_is_read_again_when_it_changes_and_a_broken_one_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, clock = tmp_path / "list.txt", Clock()
    path.write_text("ann@example.org\n")
    listed = FileRecipients(path, clock)
    bob = Mailbox("bob", "example.org")
    assert (await listed.recipient(bob)).known is Known.NO
    (tmp_path / "new").write_text("ann@example.org\nbob@example.org\n")
    os.replace(tmp_path / "new", path)
    clock.seconds += 2
    assert (await listed.recipient(bob)).known is Known.YES
    path.write_text("nonsense\n")
    clock.seconds += 2
    assert (await listed.recipient(bob)).known is Known.YES
    assert "list.txt:1" in caplog.text
    path.unlink()
    clock.seconds += 2
    assert (await listed.recipient(bob)).known is Known.YES
    path.write_text("ann@example.org\n")
    clock.seconds += 2
    assert (await listed.recipient(bob)).known is Known.NO


async def test_a_listed_route_asks_neither_mailstore_nor_cache_and_keeps_nothing() -> None:
    async with scripted() as store:
        listed = ListedRecipients(RecipientList.of(["ann@example.org"]))
        router = Router(
            [
                Route(("example.org",), (relay(store.port),), recipients=listed),
                Route(("example.net",), (relay(store.port),), recipients=AcceptedRecipients()),
                Route(("example.com",), (relay(store.port),)),
            ]
        )
        clock = Clock()
        kept = MemoryStore(clock)
        ports = Ports(BrokenResolver(), kept, router, clock, router.listed)

        async def ask(user: str, domain: str) -> Outcome:
            tx = Transaction("T", Connection("S", ip_address("192.0.2.1")), 0.0, rcpt=Mailbox(user, domain))
            found = await recipient(tx, ports, RecipientSettings())
            assert found
            return found.outcome

        assert [await ask("ann", "example.org"), await ask("bob", "example.org")] == [Outcome.PASS, Outcome.FAIL]
        assert await ask("bob", "example.net") is Outcome.NONE
        assert store.sessions == []
        assert await kept.get("rcpt:ann@example.org") is None
        assert await ask("bob", "example.com") is Outcome.PASS
        assert len(store.sessions) == 1
        await router.close()
