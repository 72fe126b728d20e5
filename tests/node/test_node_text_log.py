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
