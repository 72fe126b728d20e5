"""What one message asks of Redis, step by step of its session: a client of ours goes slowly, MONITOR tells. And what
Redis needs for that when it is busy: the same calls again, by many connections at once.
"""

import asyncio
import re
import socket
import threading
import time
from hashlib import sha1
from pathlib import Path

import redis

SCRIPTS = Path(__file__).parents[2] / "gateway" / "adapters" / "redis_scripts"
PAUSE = 0.4
"""Seconds after each step: calls that are gathered for some hundredths of a second belong to it too."""
_BOARD = re.compile(r"mxgw:(place|journal):|board_|^(TIME|PING|CLIENT|INFO|MONITOR)\b")


class Calls:
    """Listens until the server ends. ``take`` gives those since the last time, in words, without those of the board."""

    def __init__(self, port):
        self._heard = []
        self._client = redis.Redis(port=port)
        self._began = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()
        self._began.wait(10)

    def _listen(self):
        with self._client.monitor() as monitor:
            self._began.set()
            try:
                for told in monitor.listen():
                    if told["client_type"] != "lua":
                        self._heard.append(told["command"].split(" "))
            except redis.ConnectionError:
                return  # the server has ended

    def take(self):
        time.sleep(PAUSE)
        heard, self._heard = self._heard, []
        return [words for words in heard if not _BOARD.search(named(words))]


def named(words):
    """A call for people: the command, the script's name, the kinds of its keys."""
    if words[0].upper() != "EVALSHA":
        return f"{words[0].upper()} {_kinds(words[1:2])}"
    names = {sha1(file.read_bytes()).hexdigest(): file.name for file in SCRIPTS.glob("*.lua")}  # noqa: S324
    keys = words[3 : 3 + int(words[2])]
    return f"EVALSHA {names.get(words[1], words[1])} {len(keys)} key{'s' * (len(keys) != 1)}: " + _kinds(keys)


def _kinds(keys):
    """Keys without their hashes: ``mxgw:{gl}:key``, ``mxgw:..:ledger``."""
    kinds = [re.sub(r"\{[\w-]{20,}\}", "..", re.sub(r":[\w-]{20,}$", "", key)) for key in keys]
    return ", ".join(f"{kind} x{kinds.count(kind)}" if kinds.count(kind) > 1 else kind for kind in dict.fromkeys(kinds))


def of_one_message(redis_port, port, sender, octets):
    """[(step, words of a call)] of one session to the node at ``port``. sender: a line of the manifest."""
    calls, found = Calls(redis_port), []
    header = f"PROXY TCP4 {sender['source_ip']} 127.0.0.1 40000 {port}\r\n"
    steps = [
        ("connect", header.encode()),
        ("EHLO", f"EHLO {sender['helo']}\r\n".encode()),
        ("MAIL", f"MAIL FROM:<{sender['mail_from']}>\r\n".encode()),
        ("RCPT", f"RCPT TO:<{sender['rcpt']}>\r\n".encode()),
        ("DATA", b"DATA\r\n"),
        ("content", (b"\r\n" + octets).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n"),
        ("QUIT", b"QUIT\r\n"),
    ]
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client, client.makefile("rb") as replies:
        calls.take()
        for step, said in steps:
            client.sendall(said)
            while (line := replies.readline())[3:4] == b"-":
                pass
            if line[:1] not in b"23":
                raise SystemExit(f"{step}: {line!r}")
            found += [(step, words) for words in calls.take()]
    return found


def busy_us(redis_port, calls, messages=3000, connections=20):
    """Microseconds of CPU of Redis' thread a message, where these calls come as fast as one process makes them."""
    meter = redis.Redis(port=redis_port)
    spent = lambda: sum(meter.info("cpu")[f"used_cpu_{kind}_main_thread"] for kind in ("user", "sys"))  # noqa: E731
    before = spent()
    asyncio.run(_again(redis_port, calls, messages, connections))
    return 1e6 * (spent() - before) / messages


async def _again(redis_port, calls, messages, connections):
    # a value with spaces cannot be told from MONITOR; only what is rare has one
    plain = [words for words in calls if words[0].upper() in ("EVALSHA", "GET", "HDEL")]
    numbers = iter(range(messages))

    async def client():
        async with redis.asyncio.Redis(port=redis_port) as connection:
            for number in numbers:
                for words in plain:
                    keys = int(words[2]) if words[0].upper() == "EVALSHA" else 1
                    first = 3 if words[0].upper() == "EVALSHA" else 1
                    # other keys, as other messages have
                    named_anew = [f"{key}-{number % 500}" for key in words[first : first + keys]]
                    await connection.execute_command(*words[:first], *named_anew, *words[first + keys :])

    await asyncio.gather(*(client() for _ in range(connections)))
