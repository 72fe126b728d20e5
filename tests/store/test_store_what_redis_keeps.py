"""What stands in Redis after all contract tests: a time to live on every key of state, no address anywhere; and the
scripts and rights behind it, as documented."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest
import redis
from redis_server import RedisServer, free_port
from redis_worlds import DOCS, QUOTED, TlsRedis, acl_rule, permit, until
from store_subjects import UNHURRIED, RedisShapes

from gateway.adapters.board_redis import RedisBoard
from gateway.adapters.redis_client import Patience
from gateway.adapters.store_redis import RedisStore
from gateway.mail.finding import Why
from gateway.ports.failure import PortFailure
from gateway.ports.store import Counter, GreylistMark, GreylistQuestion, Tally

sys.path.insert(0, str(Path(__file__).parents[1]))
SCRIPTS = sorted((Path(__file__).parents[2] / "gateway/adapters/redis_scripts").glob("*.lua"))
SECRETS = ("alice", "bob", "example", "192.0.2", "2001:db8")
OPERATORS = {b"mxgw:place:blocks"}
"""Places whose entries are what an operator wrote, addresses included, and stay without an end."""


async def use_all(url: str) -> None:
    store = RedisStore(url, b"a secret of the cluster", patience=UNHURRIED)
    question = GreylistQuestion("bob@example.org|192.0.2.0/24", "2001:db8::/64", 0, 3600, 3600, 2, "alice@example.net")
    for _ in range(2):
        await store.greylist(question)
    await store.greylist_mark([GreylistMark("alice@example.net", False, 60), GreylistMark("192.0.2.0/24", True, 60)])
    await store.count(
        [Counter(f"192.0.2.7 {tally}", 1, 60, tally, owner="mx1" if tally is Tally.HELD else "") for tally in Tally]
    )
    await store.put("rcpt:bob@example.org", "yes", 60)
    await store.begin("digest", ["bob@example.org"], "mx1", 60)
    await store.settle("digest", ["bob@example.org"], [], "mx1", 60)
    await store.close()


async def test_every_key_of_state_ends_and_none_shows_an_address(redis_shapes: RedisShapes) -> None:
    for url in redis_shapes.urls.values():
        await use_all(url)
    seen: dict[str, int] = {}
    for server in redis_shapes.keepers:
        client = redis.Redis(port=server.port)
        for key in client.scan_iter():
            kind = key.decode().rpartition(":")[2] if b"{" in key else key.decode().split(":")[1]
            seen[kind] = seen.get(kind, 0) + 1
            if key not in OPERATORS and not ((key.startswith(b"mxgw:place:") and b"test_" in key) or b"stays" in key):
                assert client.pttl(key) > 0, key
            assert key.startswith(b"mxgw:"), key
            text = repr((key, client.dump(key)))
            assert not [word for word in SECRETS if word in text], key
        client.close()
    print(seen)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_says_what_goes_in_and_out_and_takes_its_keys_from_the_call(script: Path) -> None:
    text = script.read_text(encoding="ascii")
    header = text[: re.search(r"^(?!--)", text, re.MULTILINE).start()]  # type: ignore[union-attr]
    body = text[len(header) :]
    assert re.match(r"-- [A-Z]", header), "what it does"
    assert "-- KEYS[" in header
    assert "-- result " in header
    if "ARGV" in body:
        assert "-- ARGV[" in header
    # keys are parameters: a cluster must know them before it runs the script
    for call in re.findall(r"redis\.p?call\(('[A-Z]+'(?:, ?[^,)]+)?)", body):
        command, _, key = call.partition(",")
        assert command == "'TIME'" or re.fullmatch(r"KEYS\[\w+\]|key", key.strip()), call
    # one clock for all nodes
    assert "os.time" not in body
    assert ("redis.call('TIME')" in body) or ("now" not in body)


def commands_used() -> set[str]:
    """In scripts and by the adapters."""
    used = {"ping", "select", "client|setname", "evalsha", "eval", "time"}
    for script in SCRIPTS:
        used |= {name.lower() for name in re.findall(r"redis\.p?call\('([A-Z]+)'", script.read_text())}
    used |= {"get", "set", "del", "hdel", "xadd", "xtrim", "pexpire", "xrange", "xrevrange", "role", "wait"}  # without a script
    return used


def test_the_user_of_the_documentation_may_do_what_is_done_and_nothing_else() -> None:
    with RedisServer() as server:
        permit(server)
        granted = {word[1:] for word in acl_rule().split() if word.startswith("+")}
        cluster = {"cluster|slots", "asking", "command"}
        assert granted == commands_used() | cluster
        for command in ("KEYS *", "FLUSHALL", "CONFIG GET x", "GET other:key", "INFO", "SCAN 0", "SUBSCRIBE c", "ACL LIST"):
            assert "no permissions" in server.say("ACL", "DRYRUN", "mxgw", *command.split()), command
    assert "+@" not in acl_rule()
    assert DOCS.exists()


async def test_tls_without_a_client_certificate_or_with_another_authority_is_refused(redis_shapes: RedisShapes) -> None:
    tls: TlsRedis = redis_shapes.tls
    for query in (f"?ssl_ca_certs={tls.ca}", "", "?ssl_ca_certs=/etc/ssl/certs/ca-certificates.crt"):
        store = RedisStore(f"rediss://{tls.place}{query}", patience=Patience(5, 5, 5, 5))
        with pytest.raises(PortFailure) as caught:
            await store.ping()
        assert caught.value.cause.why is Why.REFUSED
        await store.close()


async def test_a_cluster_by_tls(redis_shapes: RedisShapes) -> None:
    tls, port, bus = redis_shapes.tls, free_port(), free_port()
    options = ("--cluster-enabled", "yes", "--cluster-port", str(bus), "--tls-cluster", "yes", "--tls-port", str(port))
    with RedisServer(*options, *tls.files) as node:
        node.say("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        permit(node)
        until(lambda: "cluster_state:ok" in node.say("CLUSTER", "INFO"), "the cluster is whole")
        place = f"mxgw:{QUOTED}@127.0.0.1:{port}"
        await answers(f"cluster://{place}?{tls.query}&ssl_check_hostname=false")
        with pytest.raises(PortFailure):
            await answers(f"cluster://{place}")


async def test_sentinels_by_tls(redis_shapes: RedisShapes) -> None:
    tls, port = redis_shapes.tls, free_port()
    folder = tls.folder / "sentinel"
    folder.mkdir()
    settings = folder / "sentinel.conf"
    files = "\n".join(f"{key[2:]} {value}" for key, value in zip(tls.files[::2], tls.files[1::2], strict=True))
    settings.write_text(
        f"bind 127.0.0.1\nport 0\ntls-port {port}\ntls-replication yes\ndir {folder}\n{files}\n"
        f"sentinel monitor mail 127.0.0.1 {tls.port} 1\n"
    )
    command = ["redis-server", str(settings), "--sentinel"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        url = f"sentinel://mxgw:{QUOTED}@127.0.0.1:{port}/mail?{tls.query}&ssl_check_hostname=false"
        for _ in range(100):
            try:
                await answers(url)
                break
            except PortFailure:
                await asyncio.sleep(0.1)
        await answers(url)
    finally:
        process.kill()
        process.wait()


async def answers(url: str) -> None:
    store = RedisStore(url, patience=Patience(5, 5, 5, 5))
    try:
        await store.put("k", "v", 60)
        assert await store.get("k") == "v"
    finally:
        await store.close()


async def test_a_wrong_password_is_refused_and_shown_nowhere(redis_shapes: RedisShapes) -> None:
    store = RedisStore(f"redis://mxgw:wrong-word@127.0.0.1:{redis_shapes.sentinel.master.port}/0")
    with pytest.raises(PortFailure) as caught:
        await store.ping()
    assert "wrong-word" not in str(caught.value)
    await store.close()


async def test_a_board_of_the_least_rights(redis_shapes: RedisShapes) -> None:
    board = RedisBoard(redis_shapes.tls.url)
    assert await board.now() > 1e9
    await board.close()
