"""The names of aiosmtpd and asyncio that are not public and that the session leans on."""

from __future__ import annotations

import asyncio
import inspect
from asyncio import sslproto, streams

import aiosmtpd
from aiosmtpd.smtp import SMTP
from house import house

from gateway.smtp.identify import Listener
from gateway.smtp.session import Session
from gateway.smtp.template import session_template
from gateway.smtp.tls import limit_tls_memory


def test_the_version_is_pinned() -> None:
    assert tuple(map(int, aiosmtpd.__version__.split(".")[:2])) == (1, 4)


def test_session_is_aiosmtpds_and_overrides_its_life() -> None:
    assert issubclass(Session, SMTP)
    assert issubclass(SMTP, asyncio.StreamReaderProtocol)
    for name in ("connection_made", "connection_lost", "eof_received", "_handle_client"):
        assert name in vars(SMTP), name
        assert name in vars(Session), name
    assert inspect.iscoroutinefunction(SMTP._handle_client)


async def test_the_constructors_attributes() -> None:
    template = session_template("mx.example.com")
    for name in (
        "loop",
        "hostname",
        "transport",
        "_handler_coroutine",
        "_smtp_methods",
        "_handle_hooks",
        "_auth_methods",
    ):
        assert name in template, name
    # nothing that one session could leave to another
    assert not [name for name, value in template.items() if isinstance(value, SMTP)]


async def test_sessions_do_not_share_state() -> None:
    async with house() as h:
        one, two = (Session(h.server, Listener("x"), session_template("x")) for _ in range(2))
        assert one._wire is not two._wire
        assert one._closed is not two._closed


def test_asyncio_names() -> None:
    assert inspect.iscoroutinefunction(streams.FlowControlMixin._drain_helper)
    limit_tls_memory()
    assert sslproto.SSLProtocol.max_size == 16384
