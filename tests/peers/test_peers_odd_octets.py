"""What a stock MTA would repair on its way, we carry as it is: seen by a mailstore that records octets."""

from __future__ import annotations

import pytest
from mail_world import attempt, fields_above, message, policy, scripted_mailstore
from node_process import NodeProcess

HEAD = b"From: a@sender.example\r\n"

ODD = {
    "blank before the colon": HEAD + b"To : b@example.com\r\nSubject : x\r\n\r\nbody\r\n",
    "no body": HEAD + b"Subject: no body\r\n",
    "nothing but a blank line after the header": HEAD + b"\r\n",
    "lines far over 998 octets": message(body=b"y" * 60000 + b"\r\n" + b"z" * 2049 + b"\r\n"),
    "NUL, escapes and all octets": message(body=bytes(set(range(256)) - {10, 13}) + b"\r\n"),
    "dots at chunk ends": message(body=b"".join(b"." * (n % 5) + b"\r\n" for n in range(70000))),
    "a folded field of blanks": HEAD + b"X-Fold: a\r\n \r\n\tb\r\n\r\nbody\r\n",
    "fields twice": HEAD + HEAD + b"Return-Path: <x@y.example>\r\nBcc: c@example.com\r\n\r\nbody\r\n",
    "more than memory holds": message(body=b"0123456789abcdef" * 4 + b"\r\n") * 40000,
}


@pytest.fixture(scope="module")
def recorder():
    with scripted_mailstore() as store:
        yield store


@pytest.fixture(scope="module")
def recording_node(recorder, name_server, tmp_path_factory):
    settings = {
        "workers": 1,
        "routes": [{"domains": ["example.com"], "mailstore": f"smtp://127.0.0.1:{recorder.port}"}],
        "dns": {"servers": [f"127.0.0.1:{name_server.port}"], "timeout": 3.0},
    }
    node = NodeProcess(tmp_path_factory.mktemp("recording") / "node", settings, policy())
    try:
        node.wait_ready()
        yield node
    finally:
        node.end()


@pytest.mark.parametrize("name", ODD)
def test_it_arrives_as_it_was(recording_node, recorder, name):
    octets = ODD[name]
    heard = attempt(recording_node.smtp_port, octets)
    assert heard.last[0] == 250, heard.last
    fields = fields_above(recorder.contents[-1], octets)
    assert fields.startswith(b"Received: from client.sender.example ")
    assert b"\r\n\r\n" not in fields
