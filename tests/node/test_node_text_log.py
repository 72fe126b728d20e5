"""The log for people (``log.form: text``)."""

from __future__ import annotations

from typing import Any

from gateway.ops.log import as_text


def said(**fields: Any) -> str:
    head = {"time": "2026-11-21T19:00:00.000Z", "level": "info", "event": "listening", "node": "mx1"}
    return as_text({**head, **fields}).partition("listening: ")[2]


def test_a_listener_without_a_name_is_told_once() -> None:
    assert said(listeners={"0.0.0.0:25": "0.0.0.0:25"}) == "listeners=0.0.0.0:25"


def test_a_listener_with_a_name_is_told_with_it() -> None:
    told = said(listeners={"balanced": "10.0.0.1:2525", "[::]:25": "[::]:25", "127.0.0.1:0": "127.0.0.1:33001"})
    assert told == "listeners=balanced=10.0.0.1:2525,[::]:25,127.0.0.1:0=127.0.0.1:33001"


TRANSACTION: dict[str, Any] = {
    "event": "transaction", "qid": "T-1", "client_ip": "192.0.2.1", "helo": "h", "from": "", "rcpt": [], "result": "rejected",
    "rcpts": [{"address": "bob@other.example", "reply": "550 5.7.1 This domain is not served here [T-1]"}],
    "reason": "relay-denied", "reply": "550 5.7.1 This domain is not served here [T-1]",
}  # fmt: skip


def test_who_was_refused_can_be_grepped() -> None:
    line = as_text({"time": "2026-11-21T19:00:00.000Z", "level": "info", "node": "mx1", **TRANSACTION})
    assert "T-1: client_ip=192.0.2.1, helo=h, from=<>, refused=bob@other.example, result=rejected," in line
    assert 'reason=relay-denied, reply="550 5.7.1 This domain' in line


def test_a_session_shows_what_it_was_told_each_reply_once() -> None:
    said = ["501 5.5.4 Syntax [S]", "503 5.5.1 Send EHLO first [S]"]
    head = {"time": "2026-11-21T19:00:00.000Z", "level": "info", "node": "mx1", "event": "session", "qid": "S"}
    line = as_text({**head, "protocol": said, "reply": said[1]})
    assert 'S: protocol="501 5.5.4 Syntax [S]","503 5.5.1 Send EHLO first [S]", reason=' in line
    assert as_text({**head, "protocol": said[:1], "reply": said[0]}).count("501 5.5.4") == 1
