"""``mxgw send`` against a scripted server on loopback."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gateway.cli.main import main


class Server:
    """Answers by verb from a script and keeps what it was told; the content under the verb ``.``."""

    def __init__(self, replies: dict[str, str]) -> None:
        self.replies = {
            "": "220 mx",
            "EHLO": "250-mx\r\n250-SIZE 1000000\r\n250 8BITMIME",
            "MAIL": "250 ok",
            "RCPT": "250 ok",
            "DATA": "354 go",
            ".": "250 2.0.0 taken",
            "QUIT": "221 bye",
        } | replies
        self.told: list[bytes] = []

    async def session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self.replies[""].encode() + b"\r\n")
        while line := await reader.readline():
            self.told.append(line)
            verb = line[:4].decode().strip()
            writer.write(self.replies[verb].encode() + b"\r\n")
            if self.replies[verb].startswith("354"):
                self.told.append(await reader.readuntil(b"\r\n.\r\n"))
                writer.write(self.replies["."].encode() + b"\r\n")
            if verb == "QUIT":
                break
        writer.close()


@contextmanager
def _serving(server: Server) -> Iterator[str]:
    loop, port, ready = asyncio.new_event_loop(), [0], threading.Event()
    stop = asyncio.Event()

    async def serve() -> None:
        async with await asyncio.start_server(server.session, "127.0.0.1", 0) as listening:
            port[0] = listening.sockets[0].getsockname()[1]
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert ready.wait(10)
    try:
        yield f"127.0.0.1:{port[0]}"
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


def _send(server: Server, *words: str) -> int:
    with _serving(server) as place:
        return main(
            [
                "send",
                "--to",
                "b@our.example",
                "--from",
                "a@example.org",
                "--helo",
                "x.example",
                "--server",
                place,
                *words,
            ]
        )


def test_accepted_is_0_and_the_dialog_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    server = Server({})
    assert _send(server, "--body", ".dot\nend") == 0
    told = capsys.readouterr().out
    assert "-> RCPT TO:<b@our.example>" in told
    assert "<- 250 2.0.0 taken" in told
    content = next(item for item in server.told if item.endswith(b"\r\n.\r\n"))
    assert b"\r\n..dot\r\n" in content
    assert b"\n" not in content.replace(b"\r\n", b"")


@pytest.mark.parametrize(
    ("replies", "code"),
    [
        ({".": "550 5.7.1 no"}, 1),
        ({".": "451 4.7.1 later"}, 75),
        ({"RCPT": "550 5.1.1 unknown"}, 1),
        ({"RCPT": "450 4.7.1 greylisted"}, 75),
        ({"MAIL": "554 5.7.1 no"}, 1),
        ({"": "421 4.3.2 full"}, 75),
        ({"": "554 5.7.1 go away"}, 1),
        ({"DATA": "503 5.5.1 no"}, 1),
        ({"": "HTTP/1.1 400"}, 69),
    ],
    ids=str,
)
def test_the_reply_is_the_exit_code(replies: dict[str, str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert _send(Server(replies)) == code
    assert "Traceback" not in capsys.readouterr().err


def test_nobody_listening_is_69(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{bound.getsockname()[1]}"
        assert main(["send", "--to", "b@our.example", "--helo", "x.example", "--server", place]) == 69
    assert "Connection refused" in capsys.readouterr().err


def test_size_fills_the_content_and_json_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    server = Server({})
    assert _send(server, "--size", "5000", "-o", "json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["schema"] == "mxgw/v1/send"
    assert told["reply"] == "250 2.0.0 taken"
    content = next(item for item in server.told if item.endswith(b"\r\n.\r\n"))
    assert abs(len(content) - 3 - 5000) <= 1


def test_a_line_break_in_the_subject_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["send", "--to", "b@our.example", "--helo", "x.example", "--subject", "a\nBcc: c@d.example"]) == 64
