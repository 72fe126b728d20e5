"""A mailstore that takes every recipient is told of loudly, soon after the start: in the log, in /statusz, as a metric."""

from __future__ import annotations

from pathlib import Path

from tests.real.mail_world import scripted_mailstore
from tests.real.node_process import NodeProcess


def test_a_mailstore_that_accepts_every_address_is_warned_of(tmp_path: Path) -> None:
    with scripted_mailstore() as every, scripted_mailstore({"RCPT": "550 5.1.1 no such user"}) as honest:
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
            assert node.get("/readyz")[0] == 200  # warned of, and served all the same
            for store in (every, honest):
                assert "DATA" not in store.commands
        finally:
            node.end()
