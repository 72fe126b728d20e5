"""Recipients at a real node: a mailstore that takes every one is told of loudly, and who guesses is slowed down."""

from __future__ import annotations

import smtplib
from pathlib import Path

from tests.real.mail_world import policy, scripted_mailstore
from tests.real.node_process import NodeProcess

NOBODY = "550 5.1.1 no such user"


def everybody_is_served_but_who_guesses(node: NodeProcess) -> None:
    """More than ten unknown recipients of one network in ten minutes: 421 in place of 550, and no word of who exists."""
    heard: list[int] = []
    for session in range(3):
        with smtplib.SMTP("127.0.0.1", node.smtp_port, timeout=60, source_address=(f"127.0.0.{session + 4}", 0)) as smtp:
            smtp.ehlo("client.example.net")
            smtp.mail("ann@example.net")
            for number in range(5):
                code, said = smtp.rcpt(f"guess{session}{number}@example.net")
                heard.append(code)
                if code == 421:
                    assert b"4.7.0" in said
                    smtp.close()
                    break
    assert heard == [550] * 10 + [421]
    with smtplib.SMTP("127.0.0.1", node.smtp_port, timeout=60, source_address=("127.0.0.4", 0)) as smtp:
        smtp.ehlo("client.example.net")
        smtp.mail("ann@example.net")
        assert smtp.rcpt("real@example.net")[0] == 250


def test_a_mailstore_that_accepts_every_address_is_warned_of(tmp_path: Path) -> None:
    with scripted_mailstore() as every, scripted_mailstore({"RCPT": NOBODY}) as honest:
        honest.by_recipient = {"real@example.net": "250 2.1.5 ok"}
        first, second = (f"smtp://127.0.0.1:{store.port}" for store in (every, honest))
        node = NodeProcess(
            tmp_path / "node",
            {
                "workers": 1,
                "routes": [
                    {"domains": ["example.com"], "mailstore": first, "name": "all"},
                    {"domains": ["example.net"], "mailstore": second, "name": "some"},
                ],
            },
            policy(**{key: {"enabled": False} for key in ("iprev", "helo", "dnsbl", "spf")}),  # DNS is out
        )
        try:
            node.wait_ready()
            told = node.wait(lambda: node.events("recipients"), "the self-test's warning")
            assert [(one["level"], one["route"]) for one in told] == [("warning", "all")]
            assert f"{first} accepts every address" in told[0]["message"]
            assert told[0]["asked"].startswith("mxgw-probe-")
            found = {one["route"]: one["result"] for one in node.status()["recipients"]}
            assert found == {"all": "accepts-all", "some": "verified"}
            assert node.metric("mxgw_mailstore_accepts_all", route="all", mailstore=first) == 1
            assert node.metric("mxgw_mailstore_accepts_all", route="some") == 0
            everybody_is_served_but_who_guesses(node)
            assert node.get("/readyz")[0] == 200  # warned of, and served all the same
            for store in (every, honest):
                assert "DATA" not in store.commands
        finally:
            node.end()
