"""Two nodes with one real Redis, name server and mailstore, and strangers who write markup wherever they can."""

from __future__ import annotations

import contextlib
import io
import json
import smtplib
import socketserver
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from gateway.cli.main import main

sys.path.insert(0, str(Path(__file__).parents[1] / "real"))
from dns_server import NsdServer
from node_process import NodeProcess
from redis_server import RedisServer

SECRET = "a secret of this cluster"
SCRIPT = "<script>document.title='stolen'</script>"
IMAGE = "<img/src=x/onerror=document.title='stolen'>"
DEFAULT_POLICY = Path(__file__).parents[2] / "policies" / "default.yaml"
Answer = tuple[int, str]


def policy() -> str:
    found = yaml.safe_load(DEFAULT_POLICY.read_text(encoding="utf-8"))
    found["checks"]["greylist"] = {"mode": "off"}
    found["rules"].append(
        {"id": "trap", "at": "rcpt", "when": {"recipient": "trap@*"}, "then": "reject", "reason": "content-policy"}
    )
    return yaml.safe_dump(found)


class _Mailstore(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.wfile.write(b"220 store.test\r\n")
        for line in self.rfile:
            verb = line[:4].upper().strip()
            if verb == b"DATA":
                self.wfile.write(b"354 go\r\n")
                while self.rfile.readline() not in (b".\r\n", b""):
                    pass
                self.wfile.write(b"250 2.0.0 queued " + SCRIPT.encode() + b"\r\n")
                continue
            self.wfile.write(b"221 bye\r\n" if verb == b"QUIT" else b"250 2.0.0 ok\r\n")
            if verb == b"QUIT":
                return


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


class World:
    def __init__(self, folder: Path, redis: RedisServer, dns: NsdServer, mailstore: int) -> None:
        self.redis = redis
        self.nodes = [
            NodeProcess(
                folder / name,
                {
                    "hostname": f"{name}.example.net",
                    "store": redis.url,
                    "secret": SECRET,
                    "workers": workers,
                    "dns": {"servers": ["{}:{}".format(*dns.address)], "timeout": 2},
                    "routes": [{"domains": ["example.com"], "mailstore": f"smtp://127.0.0.1:{mailstore}"}],
                    "limits": {"greeting_delay": 0},
                    **more,
                },
                policy(),
            )
            for name, workers, more in (("mx1", 2, {}), ("mx2", 1, {"admin": _guarded(folder)}))
        ]

    def command(self, *words: str, node: int = 0) -> tuple[int, str, str]:
        """Exit code, standard output and standard error of ``mxgw WORDS --config ...``."""
        output, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            code = main([*words, "--config", str(self.nodes[node].config)])
        return code, output.getvalue(), errors.getvalue()

    def asked(self, *words: str, node: int = 0) -> Any:
        """The JSON of a command that went well."""
        code, output, errors = self.command(*words, "-o", "json", node=node)
        assert code == 0, errors
        return json.loads(output)


TOKEN = "letmein-0123456789"


def _guarded(folder: Path) -> dict[str, str]:
    file = folder / "token"
    file.write_text(TOKEN + "\n", encoding="utf-8")
    file.chmod(0o600)
    return {"address": "127.0.0.1:0", "token_file": str(file)}


@contextlib.contextmanager
def world(folder: Path) -> Iterator[World]:
    folder.mkdir(parents=True, exist_ok=True)
    zone = f"9.0.0 PTR {SCRIPT.replace('(', chr(92) + '(')}.evil.example.\n2.0.0 PTR good.example.\n"
    with RedisServer() as redis, NsdServer({"127.in-addr.arpa": zone}) as dns, _Server(("127.0.0.1", 0), _Mailstore) as store:
        threading.Thread(target=store.serve_forever, daemon=True).start()
        found = World(folder, redis, dns, store.server_address[1])
        try:
            for node in found.nodes:
                node.wait_ready()
            yield found
        finally:
            for node in found.nodes:
                node.end()
            store.shutdown()


def send(
    node: NodeProcess,
    recipient: str = "user@example.com",
    *,
    client: str = "127.0.0.2",
    reverse_path: str = "ann@sender.example",
    msgid: str = "<1@sender.example>",
    subject: str = "x",
    helo: str = "client.example",
) -> Answer:
    """One message in a session of its own: the answer to its end, or the first refusal."""
    session = smtplib.SMTP(source_address=(client, 0), timeout=20)
    session.connect("127.0.0.1", node.smtp_port)
    with contextlib.closing(session):
        for words in (("EHLO", helo), ("MAIL", f"FROM:<{reverse_path}>"), ("RCPT", f"TO:<{recipient}>")):
            code, text = session.docmd(*words)
            if code >= 400:
                return code, text.decode()
        body = (
            f"From: <{reverse_path}>\r\nSubject: {subject}\r\nMessage-ID: {msgid}\r\n"
            "Date: Mon, 02 Nov 2026 10:00:00 +0000\r\n\r\nhello secret words\r\n"
        )
        code, text = session.data(body.encode())
        return code, text.decode()


def id_in(reply: str) -> str:
    """What stands in the brackets."""
    return reply.partition("[")[2].partition("]")[0]
