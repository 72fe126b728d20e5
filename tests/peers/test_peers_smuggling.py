"""The matrix of line endings end to end: a client, a real node, a real Postfix, which must see no message but ours.

example.com refuses bare line endings, example.org normalises them; both are the same Postfix.
"""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from mail_world import policy, poll
from node_process import NodeProcess

from tests.real.postfix import Postfix, original

sys.path.insert(0, str(Path(__file__).parents[1] / "wire"))
from smuggling_matrix import CASES, END, Bare

DOMAINS: dict[Bare, str] = {"refuse": "example.com", "normalize": "example.org"}
CHECKS = {name: {"enabled": False} for name in ("spf", "dkim", "dmarc", "arc")}


@pytest.fixture(scope="module")
def postfix() -> Iterator[Postfix]:
    # a header is not completed: what arrives is what was sent
    store = Postfix(domains=tuple(DOMAINS.values()), extra="local_header_rewrite_clients =")
    yield store
    store.close()


@pytest.fixture(scope="module")
def node(postfix: Postfix, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    settings = {
        "routes": [{"domains": list(DOMAINS.values()), "mailstore": f"smtp://127.0.0.1:{postfix.port}"}],
        "limits": {"junk_commands": 1000, "errors_soft": 1000, "errors_hard": 1000},
    }
    text = yaml.safe_load(policy())
    text["profiles"] = [{"name": "careless", "domains": [DOMAINS["normalize"]], "content": {"bare_line_ending": "normalize"}}]
    started = NodeProcess(tmp_path_factory.mktemp("smuggling") / "node", settings, yaml.safe_dump(text, sort_keys=False))
    try:
        started.wait_ready()
        yield started
    finally:
        started.end()


def send(node: NodeProcess, octets: bytes) -> bytes:
    """Everything in one go; the whole answer."""
    with socket.create_connection(("127.0.0.1", node.smtp_port), 30) as client:
        client.recv(1000)
        client.sendall(octets)
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while got := client.recv(65536):
            answer += got
    return answer


def squeezed(message: bytes) -> bytes:
    """What Postfix leaves: an empty line comes before a line that is no header field, and a field ends at a NUL."""
    return re.sub(rb"(?:\r\n)+", b"\r\n", re.sub(rb"\0[^\r\n]*", b"", message))


@pytest.mark.parametrize("bare", DOMAINS)
def test_postfix_sees_one_message_or_none(bare: Bare, node: NodeProcess, postfix: Postfix) -> None:
    domain = DOMAINS[bare].encode()
    before = len(postfix.messages())
    expected: dict[bytes, bytes] = {}
    for number, case in enumerate(CASES):

        def own(octets: bytes, attempt: str) -> bytes:
            # a message that comes again from one reverse-path is the same message to the ledger
            return octets.replace(b"@example.com", b"@" + domain).replace(b"<evil@", b"<evil%b@" % attempt.encode())

        for by, chunked in ((case.by_data, False), (case.by_bdat, True))[: 1 + number % 2]:
            attempt = f"-{bare}-{number}-{by.__name__}"
            data = own(case.text, attempt)
            envelope = b"EHLO c.example\r\nMAIL FROM:<a%b@b.example>\r\nRCPT TO:<user@%b>\r\n" % (attempt.encode(), domain)
            content = b"BDAT %d LAST\r\n%b\r\n" % (len(data) + 2, data) if chunked else b"DATA\r\n" + data + END
            delivered = [own(message, attempt) for message in by(bare)]
            answer = send(node, envelope + content + b"QUIT\r\n")
            assert answer.count(b"\r\n250 2.0.0 ") == len(delivered), (case.name, answer)
            assert delivered or b"\r\n554 5.5.2 Bare CR or LF" in answer, (case.name, answer)
            # a second message only where a true end of data stands before it
            paths = (b"a" + attempt.encode() + b"@b.example", b"evil" + attempt.encode() + b"@evil.example")
            expected.update(zip(paths, delivered, strict=False))
    poll(lambda: len(postfix.messages()) - before >= len(expected) and not postfix.queued(), "all messages are delivered")
    arrived = [message for message in postfix.messages() if b"-%b-" % bare.encode() in message.partition(b"\n")[0]]
    assert len(arrived) == len(expected)
    envelopes = {message.split(b">")[0].removeprefix(b"Return-Path: <"): squeezed(original(message)) for message in arrived}
    assert set(envelopes) == set(expected)
    for path, message in expected.items():
        assert envelopes[path].endswith(squeezed(b"\r\n" + message)), (path, message, envelopes[path])
    evil = sum(path.startswith(b"evil") for path in envelopes)
    print(f"{len(CASES) * 3 // 2} attempts, {len(expected)} delivered, {evil} of them behind a true end of data")
