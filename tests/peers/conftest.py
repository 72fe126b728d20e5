"""One world for all tests of this folder: a name server, two mailstores and a node between them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from debian import need
from dns_server import NsdServer
from mail_world import DkimKey, policy, zones
from node_process import NodeProcess

from tests.real.dovecot import Dovecot
from tests.real.postfix import Postfix


@pytest.fixture(scope="session")
def dkim_key() -> DkimKey:
    return DkimKey()


@pytest.fixture(scope="session")
def name_server(dkim_key: DkimKey) -> Iterator[NsdServer]:
    need("nsd")
    with NsdServer(zones(dkim_key)) as server:
        yield server


@pytest.fixture(scope="session")
def postfix_mailstore() -> Iterator[Postfix]:
    store = Postfix(domains=("example.com",))
    yield store
    store.close()


@pytest.fixture(scope="session")
def dovecot() -> Iterator[Dovecot]:
    store = Dovecot(("user@example.org", "other@example.org"))
    yield store
    store.close()


@pytest.fixture(scope="session")
def node(
    name_server: NsdServer,
    postfix_mailstore: Postfix,
    dovecot: Dovecot,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[NodeProcess]:
    """example.com goes to Postfix by SMTP, example.org to Dovecot by LMTP."""
    settings = {
        "routes": [
            {"domains": ["example.com"], "mailstore": f"smtp://127.0.0.1:{postfix_mailstore.port}"},
            {"domains": ["example.org"], "mailstore": f"lmtp://127.0.0.1:{dovecot.port}"},
        ],
        "dns": {"servers": [f"127.0.0.1:{name_server.port}"], "timeout": 3.0},
    }
    started = NodeProcess(tmp_path_factory.mktemp("world") / "node", settings, policy())
    try:
        started.wait_ready()
        yield started
    finally:
        started.end()
