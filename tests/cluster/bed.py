"""A whole mail site in network namespaces: three nodes on port 25 with IPv4 and IPv6 addresses of their own, a name server
with zones as operators publish them, Redis with a replica and Sentinels, HAProxy, Dovecot and Postfix as mailstores, and a
Postfix as the sending MTA, which finds the nodes by MX like everybody.

    with bed(folder) as site: site.mta.submit(...); site.kill("mx2"); site.drill(...)

Places: mx1, mx2, mx3, core (DNS, Redis, mailstores), lb (HAProxy), mta (the sender, and the operator's commands).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

for folder in ("real", "balancers"):
    sys.path.append(str(Path(__file__).parents[1] / folder))

from certificates import Authority  # noqa: E402
from debian import MISSING, need  # noqa: E402
from dns_server import NsdServer  # noqa: E402
from dovecot import Dovecot  # noqa: E402
from haproxy import Haproxy  # noqa: E402
from network import Network  # noqa: E402
from node_process import NodeProcess  # noqa: E402
from postfix import Postfix  # noqa: E402
from redis_worlds import SentinelRedis, permit  # noqa: E402
from sending import Sender, message_ids  # noqa: E402
from zones import BALANCER, CORE, NODES, PLACES, TO_DOVECOT, ZONES  # noqa: E402

GREYLIST_DELAY = 2
"""Seconds, for many.example."""
POLICY = f"""\
version: 1
mode: enforce
checks: {{greylist: {{mode: "off"}}, rate: {{enabled: false}}}}
rules:
  - {{id: greylist, at: rcpt, when: {{greylist: fail}}, then: defer, reason: greylisted}}
  - {{id: recipient-unknown, at: rcpt, when: {{recipient: fail}}, then: reject, reason: recipient-unknown, firm: true}}
  - {{id: spf-reject, at: rcpt, when: {{spf: fail}}, then: reject, reason: auth-policy}}
outage: {{dns: proceed, store: proceed, mailstore: defer}}
profiles:
  - {{name: grey, domains: [many.example], checks: {{greylist: {{mode: all, delay_all: {GREYLIST_DELAY}, auto_allow_after: 0}}}}}}
"""
IMAP = f"""protocols = lmtp imap
disable_plaintext_auth = no
service imap-login {{
  inet_listener imap {{
    address = {CORE}
    port = 143
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
"""
HAPROXY = """\
defaults
    mode tcp
    timeout connect 5s
    timeout client 2m
    timeout server 2m
frontend smtp
    bind 0.0.0.0:25
    bind [::]:25 v6only
    default_backend mx_nodes
backend mx_nodes
    balance leastconn
    option redispatch 1
    option smtpchk EHLO lb.example.com
    default-server inter 500ms fall 2 rise 2 send-proxy-v2
    server mx1 203.0.113.10:25 check
    server mx2 203.0.113.20:25 check
    server mx3 203.0.113.30:25 check
"""


Doing = Callable[[], object] | None


class Account(dict[str, Any]):
    """What ``mxgw drill`` says."""

    def assert_nothing_lost(self) -> None:
        """Everything sent is there once."""
        assert self["sent"] > 0, self
        assert (self["lost"], self["duplicated"], self["refused"], self["given_up"]) == (0, 0, 0, 0), self
        assert self["delivered"] == self["sent"], self
        assert self["passed"], self


class Bed:
    """The site. policy: of all nodes; the other keys replace those of their settings."""

    def __init__(self, folder: Path, policy: str = POLICY, **settings: Any) -> None:
        self.folder = folder
        self._policy = policy
        self._settings = settings
        self._stack = ExitStack()
        self._lives = 0
        self.nodes: dict[str, NodeProcess] = {}
        self._ended: list[NodeProcess] = []

    def __enter__(self) -> Bed:
        try:
            self._raise()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _raise(self) -> None:
        self.net = self._stack.enter_context(Network(PLACES, resolver=CORE))
        authority = Authority()
        names = [f"{name}.example.com" for name in NODES]
        self.certificates = [authority.write(self.folder / "tls", stem, "ecdsa", *names) for stem in ("old", "new")]
        self._stack.callback(self._end_nodes)
        self.set_clock("+0")
        with self.net.inside("core"):
            self.dns = self._stack.enter_context(NsdServer(ZONES, port=53, host=CORE))
            self.redis = self._stack.enter_context(SentinelRedis(host=CORE))
            for server in (self.redis.master, self.redis.replica):
                permit(server)
            users = tuple(f"{who}@{domain}" for domain in TO_DOVECOT for who in ("user", "drill"))
            self.dovecot = Dovecot(users, host=CORE, extra=IMAP)
            self._stack.callback(self.dovecot.close)
            self.postfix = Postfix(
                domains=("postfix.example",),
                host=CORE,
                within=self.net.within("core"),
                extra="mynetworks = 203.0.113.0/24",
            )
            self._stack.callback(self.postfix.close)
        for name in NODES:
            self.nodes[name] = self._node(name)
        self.mta = Sender(self.net.within("mta"))
        self._stack.callback(self.mta.close)
        balancer = self.folder / "balancer"
        balancer.mkdir()
        with self.net.inside("lb"):
            self.balancer = self._stack.enter_context(Haproxy(balancer, HAPROXY))
        for node in self.nodes.values():
            node.wait_ready()
        self.balancer.wait(dict.fromkeys(NODES, "UP"))

    def _node(self, name: str) -> NodeProcess:
        self._lives += 1
        folder = self.folder / f"{name}-{self._lives}"
        proxy = {"trusted": [f"{BALANCER}/32", "2001:db8::80/128"], "direct": True}
        settings = {
            "hostname": f"{name}.example.com",
            "authserv_id": "mx.example.com",
            "listeners": [{"address": place, "proxy_protocol": proxy} for place in ("0.0.0.0:25", "[::]:25")],
            "tls": self.certificate(name),
            "routes": [
                {"domains": list(TO_DOVECOT), "mailstore": f"lmtp://{CORE}:{self.dovecot.port}"},
                {"domains": ["postfix.example"], "mailstore": f"smtp://{CORE}:{self.postfix.port}"},
            ],
            "dns": {"servers": [f"{CORE}:53"], "timeout": 0.5},
            "store": self.redis.url,
            "workers": 1,
            "state_dir": str(self.folder / f"state-{name}"),
            "limits": {"greeting_delay": 0, "drain_timeout": 5},
            **self._settings,
        }
        with self.net.inside(name):
            return NodeProcess(folder, settings, policy=self._policy, env=self._clock if name == "mx3" else None)

    @property
    def _clock(self) -> Mapping[str, str]:
        """The last node's clock can be set while it runs."""
        fake = {"FAKETIME_TIMESTAMP_FILE": str(self.folder / "clock"), "FAKETIME_CACHE_DURATION": "1"}
        return {"LD_PRELOAD": self.faketime, "FAKETIME_DONT_FAKE_MONOTONIC": "1", **fake} if self.faketime else {}

    @property
    def faketime(self) -> str:
        """The library of Debian's faketime; '' where it is missing."""
        return next(map(str, Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")), "")

    def set_clock(self, offset: str) -> None:
        """The clock of mx3 is so much wrong, ``+1h``; within a second or two."""
        (self.folder / "clock").write_text(f"{offset}\n", encoding="utf-8")

    def certificate(self, name: str) -> dict[str, str]:
        """A node's own files, at first a copy of the old pair."""
        own = {key: self.folder / "tls" / f"{name}.{key}" for key in ("certificate", "key")}
        if not own["key"].exists():
            self.swap_certificate(name, self.certificates[0])
        return {key: str(path) for key, path in own.items()}

    def swap_certificate(self, name: str, pair: Mapping[str, str]) -> None:
        """Put another pair in the place of a node's, as an ACME client does it."""
        for key in ("key", "certificate"):
            part = self.folder / "tls" / f"{name}.{key}.part"
            part.write_bytes(Path(pair[key]).read_bytes())
            part.replace(self.folder / "tls" / f"{name}.{key}")

    # ---- what happens to nodes

    def kill(self, name: str) -> None:
        """The supervisor and its workers, with SIGKILL, at once."""
        self.nodes[name].kill_all()

    def start(self, *names: str) -> None:
        """Start these again."""
        for name in names:
            self._ended.append(self.nodes[name])
            self.nodes[name] = self._node(name)

    def records(self, event: str = "transaction") -> dict[str, list[dict[str, Any]]]:
        """Place -> records of the node that lives there now."""
        return {name: node.events(event) for name, node in self.nodes.items()}

    def transactions(self) -> Counter[str]:
        """Place -> how many messages were accepted there so far, over all lives."""
        all_nodes = [*self._ended, *self.nodes.values()]
        found: Counter[str] = Counter()
        for node in all_nodes:
            found[node.folder.name.partition("-")[0]] += sum(
                record["result"] == "accepted" for record in node.events("transaction")
            )
        return found

    def _end_nodes(self) -> None:
        for node in self.nodes.values():
            if node.process.poll() is None:
                node.kill(signal.SIGTERM)
        for node in self.nodes.values():
            node.end()

    # ---- the operator and the mailstores

    def mxgw(self, *words: str | Path, place: str = "mta") -> subprocess.Popen[str]:
        """A command with the settings of a node (mx1's unless they name others); its output is one stream."""
        clean = {key: value for key, value in os.environ.items() if not key.startswith("MXGW_")}
        clean["MXGW_DRILL_PASSWORD"] = "x"
        config = self.nodes["mx1"].config
        with self.net.inside(place):
            return subprocess.Popen(
                [sys.executable, "-u", "-m", "gateway", *map(str, words), "--config", str(config)],
                env=clean, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )  # fmt: skip

    def run(self, *words: str | Path) -> tuple[int, str]:
        """A command's exit code and output."""
        asked = self.mxgw(*words)
        said, _ = asked.communicate(timeout=60)
        return asked.returncode, said

    def whole(self) -> None:
        """All nodes serve, whatever a test has left."""
        self.start(*(name for name, node in self.nodes.items() if node.process.poll() is not None))
        for node in self.nodes.values():
            node.wait_ready()

    def expect(self, code: int, *words: str | Path) -> None:
        """A command that must leave so."""
        left, said = self.run(*words)
        assert left == code, said

    # ---- what happens to the rest

    def dovecot_stop(self) -> None:
        """The mailstore is down."""
        self.dovecot.stop()

    def dovecot_start(self) -> None:
        """And up again."""
        with self.net.inside("core"):
            self.dovecot.start()

    def dns_stop(self) -> None:
        """The name server is dead."""
        self.dns.stop()

    def dns_start(self) -> None:
        """And lives."""
        with self.net.inside("core"):
            self.dns.__enter__()

    def drill(self, name: str, fault: Doing, mend: Doing = None, **options: Any) -> Account:
        """``mxgw drill NAME`` from the sender's place, with the test as the operator; its figures. options: of the
        command line, with _ for -."""
        self.whole()
        to = options.pop("to", "drill@three.example")
        words = {"to": to, "count": f"maildir:{self.dovecot.mail}/{to}", "from": "ann@{n}.sender.example",
                 "helo": "mta.sender.example", "rate": 8, "calm": 1, "during": 2, "retry": 1, "patience": 60,
                 **options}  # fmt: skip
        given = [word for key, value in words.items() for word in (f"--{key.replace('_', '-')}", str(value))]
        running = self.mxgw("drill", name, *given, "--output", "json")
        assert running.stdout
        assert running.stdin
        doings = [fault, mend]
        said: list[str] = []
        try:
            for line in running.stdout:
                said.append(line)
                if line.startswith("NOW "):
                    if doing := doings.pop(0):
                        doing()
                    running.stdin.write("\n")
                    running.stdin.flush()
            code = running.wait(10)
        finally:
            running.kill()
            running.wait()
            if len(doings) == 1 and doings[0]:
                doings[0]()  # the fault was made and the command has ended: the next test wants a whole site
        text = "".join(said)
        start = text.find("{\n")
        assert start >= 0, text
        found = Account(json.loads(text[start:]))
        print(text)
        assert found["passed"] == (code == 0)
        return found

    def delivered(self, address: str) -> Counter[str]:
        """The Message-IDs in a mailbox of Dovecot or Postfix, and how often each."""
        user, _, domain = address.partition("@")
        return message_ids(self.postfix.messages(user) if domain == "postfix.example" else self.dovecot.messages(address))

    def submit(self, address: str, names: list[str]) -> None:
        """Give the sending MTA one message for each Message-ID."""
        self.mta.send(address, names)

    def wait(self, what: Callable[[], Any], text: str, seconds: float = 60.0) -> Any:
        """Until it is true."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := what():
                return found
            time.sleep(0.1)
        logs = "\n".join(f"{name}: {line[:600]}" for name, node in self.nodes.items() for line in node.log[-5:])
        raise AssertionError(f"not in {seconds:g} s: {text}\n{logs}\n{self.mta.log_text()[-3000:]}")


@contextmanager
def bed(folder: Path, policy: str = POLICY, **settings: Any) -> Iterator[Bed]:
    """With all of it, and nothing of it afterwards."""
    for program in ("ip", "nsd", "redis-server", "haproxy", "postfix", "dovecot"):
        need(program)
    if not Path("/usr/lib/dovecot/imap").exists():
        pytest.skip(f"{MISSING} dovecot's IMAP (Debian package dovecot-imapd)")
    with Bed(folder, policy, **settings) as site:
        yield site
