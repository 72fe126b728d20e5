"""The page: what it shows, to whom, and that nothing of what strangers write is more than text. With a real browser."""

from __future__ import annotations

import asyncio
import base64
import http.client
import re
import socket
import ssl
import sys
from http import HTTPStatus
from pathlib import Path

import pytest
from pydantic import ValidationError

sys.path.insert(0, str(Path(__file__).parent))
from browser import DARK, LIGHT, Shot, dom
from tracking_world import IMAGE, SCRIPT, TOKEN, NodeProcess, World, id_in, send

from gateway.adapters.board_memory import MemoryBoard
from gateway.adapters.clock_system import SystemClock
from gateway.config import Settings, load_settings
from gateway.config.admin_section import AdminSettings
from gateway.node.admin_port import admin_port
from gateway.ops.admin import Page
from gateway.policy.load import load_packaged

PAGES = ("/", "/live", "/search", "/lists", "/domains")
SIGNS = ("<script>doc", "<img", "<b>x", "onerror=\"", "<i>why")


@pytest.fixture(scope="module")
def ids(world: World) -> list[str]:
    """Of three decisions in which strangers and a mailstore wrote markup in every place."""
    first, second = world.nodes
    answers = [
        send(first, client="127.0.0.9", reverse_path="bob@page.example", msgid=f"<{IMAGE}@x>", subject=SCRIPT),
        send(second, "trap@example.com", client="127.0.0.9", reverse_path='"<b>x</b>"@page.example'),
        send(second, "trap@example.com", client="127.0.0.9", reverse_path="eve@page.example", helo=IMAGE),
    ]
    assert [code for code, _ in answers] == [250, 554, 554]
    assert world.command("block", "192.0.2.9", "--reason", "<i>why</i>")[0] == 0
    found = world.asked("track", "--fresh", "--from", "page.example")["records"]
    assert len(found) == 3
    return [id_in(text) for _, text in answers]


def fetch(node: NodeProcess, path: str, **headers: str) -> tuple[int, dict[str, str], str]:
    asked = http.client.HTTPConnection("127.0.0.1", node.admin_port, timeout=20)
    try:
        asked.request("GET", path, headers=headers)
        answer = asked.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read().decode()
    finally:
        asked.close()


def test_each_page_is_escaped_and_has_nothing_inline_or_foreign(world: World, ids: list[str]) -> None:
    for path in (*PAGES, "/search?since=24h&from=page.example", *(f"/message?id={ident}" for ident in ids)):
        status, headers, text = fetch(world.nodes[0], path)
        assert status == 200, path
        policy = headers["content-security-policy"]
        assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        for sign in SIGNS:
            assert sign not in text, (path, sign)
        assert re.findall(r"<script[^>]*>", text) == ['<script src="/static/page.js" defer>']
        assert not re.search(r"<style|\sstyle=|\son\w+=", re.sub(r"&lt;.*?&gt;", "", text))
        assert all(place.startswith("/") for place in re.findall(r'(?:src|href|action)="([^"]*)"', text))
    for path in ("/static/page.js", "/static/page.css", "/static/icon.svg"):
        assert fetch(world.nodes[0], path)[0] == 200
    assert "//" not in fetch(world.nodes[0], "/static/page.css")[2]


def test_each_page_tells_what_it_is_for(world: World, ids: list[str]) -> None:
    first = world.nodes[0]
    cluster = fetch(first, "/")[2]
    for words in ("mx1.example.net", "mx2.example.net", "serving", "All nodes are alike.", "smtp://127.0.0.1", " days"):
        assert words in cluster
    for path in ("/live", "/search?since=24h&from=page.example", "/search?since=1h&ip=127.0.0.9&verdict=rejected"):
        text = fetch(first, path)[2]
        assert ids[1] in text
        assert "content-policy" in text
    assert ids[0] not in fetch(first, "/search?since=1h&from=page.example&verdict=rejected")[2]
    message = fetch(first, f"/message?id=[{ids[1]}]")[2]
    for words in ("trap: reject", "without rule trap: accept (accepted)", "iprev", " ms", "trap@example.com"):
        assert words in message
    accepted = fetch(first, f"/message?id={ids[0]}")[2]
    assert "&lt;script&gt;document.title=&#x27;stolen&#x27;&lt;/script&gt;.evil.example" in accepted  # the PTR
    assert "queued &lt;script&gt;" in accepted  # the mailstore's reply
    assert "&lt;img/src=x/onerror" in accepted  # the Message-ID
    assert "&lt;img/src=x/onerror" in fetch(first, f"/message?id={ids[2]}")[2]  # the hello
    assert "192.0.2.9/32" in fetch(first, "/lists")[2]
    assert "example.com" in fetch(first, "/domains")[2]
    for path in ("/search?since=1h&ip=<b>x", "/search?since=never", f"/message?id={IMAGE}"):
        status, _, text = fetch(first, path.replace(" ", "+"))
        assert status == 200
        assert "<b>x" not in text
        assert "<img" not in text


def test_in_a_browser_nothing_runs_but_the_page_and_it_updates_itself(
    world: World, ids: list[str], tmp_path: Path
) -> None:
    base = f"http://127.0.0.1:{world.nodes[0].admin_port}"
    visits = [
        dom(f"{base}/live", "--virtual-time-budget=7000"),
        dom(f"{base}/message?id={ids[0]}", "--virtual-time-budget=1000"),
    ]
    shots = [
        Shot(f"{base}/live", tmp_path / "light.png", LIGHT, "--window-size=1400,900"),
        Shot(f"{base}/message?id={ids[0]}", tmp_path / "dark.png", DARK, "--window-size=500,900"),
    ]
    live, message = (visit.text() for visit in visits)
    for text in (live, message):
        assert "<title>stolen" not in text
        for sign in SIGNS:
            assert sign not in text
    assert re.search(r'<output id="fresh">live ', live), live[-600:]
    assert '<noscript><meta http-equiv="refresh"' in fetch(world.nodes[0], "/live")[2]
    for ident in ids:
        assert ident in live
    assert min(shots[0].first_pixel()) > 200
    assert max(shots[1].first_pixel()) < 80


def test_a_token_opens_the_page_and_probes_need_none(world: World) -> None:
    second = world.nodes[1]
    for path in ("/healthz", "/readyz", "/metrics"):
        assert fetch(second, path)[0] == 200
    basic = base64.b64encode(f"anybody:{TOKEN}".encode()).decode()
    for path in (*PAGES, "/statusz", "/static/page.js"):
        status, headers, text = fetch(second, path)
        assert status == 401
        assert headers["www-authenticate"].startswith("Basic ")
        assert "mx2" not in text
        assert fetch(second, path, Authorization=f"Bearer {TOKEN}")[0] == 200
    assert fetch(second, "/", Authorization=f"Basic {basic}")[0] == 200
    for wrong in ("Bearer letmein", f"Basic {base64.b64encode(b'a:b').decode()}", "Basic ???", "Digest x", "Bearer é"):
        assert fetch(second, "/", Authorization=wrong)[0] == 401
    assert TOKEN not in "".join(second.log)


def test_without_a_token_another_name_for_this_machine_opens_nothing(world: World) -> None:
    first = world.nodes[0]
    assert fetch(first, "/live", Host="evil.example")[0] == 421
    assert fetch(first, "/live", Host="evil.example:8025")[0] == 421
    for host in ("localhost:8025", "[::1]:8025", "127.0.0.1", "MX1.example.net"):
        assert fetch(first, "/live", Host=host)[0] == 200


def test_nothing_can_be_changed_over_the_port(world: World) -> None:
    asked = http.client.HTTPConnection("127.0.0.1", world.nodes[0].admin_port, timeout=20)
    asked.request("POST", "/search", body="x=1")
    assert asked.getresponse().status == 405
    asked.close()


def test_beyond_loopback_there_is_no_page_without_a_guard(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN, encoding="utf-8")
    assert AdminSettings().serves_page
    assert AdminSettings(address="[::1]:8025").serves_page
    assert not AdminSettings(address="0.0.0.0:8025").serves_page
    assert AdminSettings(address="0.0.0.0:8025", token_file=token).serves_page
    assert not AdminSettings(page=False).serves_page
    file = tmp_path / "gateway.yaml"
    text = "state_dir: state\nroutes: [{domains: [example.com], mailstore: 'smtp://10.1.0.5:25'}]\n"
    file.write_text(text + "admin: {address: '0.0.0.0:8025', token_file: token}\n", encoding="utf-8")
    assert any("in the clear" in warning for warning in load_settings(file, {}).warnings)
    with pytest.raises(ValidationError):
        AdminSettings(password="x")  # type: ignore[call-arg]


async def test_a_client_certificate_opens_the_page(tmp_path: Path) -> None:
    await asyncio.to_thread(_make_certificates, tmp_path)
    (tmp_path / "token").write_text(TOKEN, encoding="utf-8")
    files = "certificate: server.pem, key: server.key, client_ca: ca.pem"
    head = "state_dir: state\nroutes: [{domains: [example.com], mailstore: 'smtp://10.1.0.5:25'}]\n"
    for number, token in enumerate(("", ", token_file: token")):
        file = tmp_path / f"gateway{number}.yaml"
        file.write_text(f"{head}admin: {{address: '0.0.0.0:8025', page: true, {files}{token}}}\n", encoding="utf-8")
        settings = load_settings(file, {})
        assert settings.warnings == ()
        await _ask_over_tls(settings, tmp_path, 401 if token else 403)


async def _ask_over_tls(settings: Settings, folder: Path, refused: int) -> None:
    async def show() -> Page:
        return Page.text(HTTPStatus.OK, "alive")

    board = MemoryBoard(SystemClock())
    server, tls = admin_port(settings, {"/healthz": show}, board, dict, lambda: load_packaged("default"))
    sock = socket.create_server(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    await server.start(sock, tls)

    def ask(path: str, client: str = "", **headers: str) -> int:
        context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
        if client:
            context.load_cert_chain(folder / f"{client}.pem", folder / f"{client}.key")
        asked = http.client.HTTPSConnection("localhost", port, timeout=20, context=context)
        try:
            asked.request("GET", path, headers=headers)
            return asked.getresponse().status
        finally:
            asked.close()

    assert await asyncio.to_thread(ask, "/lists") == refused
    assert await asyncio.to_thread(ask, "/statusz") == refused
    assert await asyncio.to_thread(ask, "/healthz") == 200
    assert await asyncio.to_thread(ask, "/lists", "client") == 200
    with_token = await asyncio.to_thread(lambda: ask("/lists", Authorization=f"Bearer {TOKEN}"))
    assert with_token == (200 if settings.admin.token_file else refused)
    with pytest.raises((OSError, http.client.HTTPException)):
        await asyncio.to_thread(ask, "/lists", "stranger")
    await server.close()


def _make_certificates(folder: Path) -> None:
    import subprocess

    from debian import need

    def openssl(*words: str) -> None:
        subprocess.run([need("openssl"), *words], cwd=folder, check=True, capture_output=True)

    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl("req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca", "-days", "3")
    openssl("req", "-x509", *new, "-keyout", "stranger.key", "-out", "stranger.pem", "-subj", "/CN=s", "-days", "3")
    for name in ("server", "client"):
        openssl("req", *new, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (folder / "ext").write_text("subjectAltName=DNS:localhost\n", encoding="utf-8")
        signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "3", "-extfile", "ext")
        openssl("x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", *signing)
