"""Two sites with nothing in common but the domains and the other one's mailstore as the second of the list: in each a node, a
Redis and a Dovecot, each in network namespaces of its own; and a Postfix that finds both by equal MX (docs/topologies.md).

    with two_sites(folder) as sites: sites.mta.send(...); sites.lose("a"); sites.bring_back("a")

Places: mx_a and mx_b (the nodes), core_a and core_b (Redis, Dovecot), mta (the sender, with a name server).
"""

from __future__ import annotations

import re
import signal
import smtplib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from debian import need
from dns_server import NsdServer
from dovecot import Dovecot
from network import Network
from node_process import NodeProcess
from redis_server import RedisServer
from sending import Sender, message_ids
from three_nodes import mxgw

NODE = {"a": "203.0.113.10", "b": "198.51.100.20"}
CORE = {"a": "203.0.113.11", "b": "198.51.100.21"}
MTA = "203.0.113.90"
PLACES = {
    **{f"mx_{site}": (f"{NODE[site]}/24",) for site in NODE},
    **{f"core_{site}": (f"{CORE[site]}/24",) for site in NODE},
    "mta": (f"{MTA}/24",),
}
DOMAINS = ("two.example", "grey.example", "few.example")
ZONES = dict.fromkeys(DOMAINS, f"@ MX 10 a\n@ MX 10 b\na A {NODE['a']}\nb A {NODE['b']}\n")
GREYLIST_DELAY = 1
POLICY = f"""\
version: 1
mode: enforce
checks:
  greylist: {{mode: "off"}}
  rate: {{connections: 0, sessions: 0, messages: 0, recipients: 0, errors: 0}}
rules:
  - {{id: greylist, at: rcpt, when: {{greylist: fail}}, then: defer, reason: greylisted}}
  - {{id: rate, at: rcpt, when: {{rate: fail}}, then: defer, reason: rate}}
  - {{id: block, at: rcpt, when: {{block: fail}}, then: reject, reason: blocked}}
outage: {{dns: proceed, store: proceed, mailstore: defer}}
profiles:
  - {{name: grey, domains: [grey.example], checks: {{greylist: {{mode: all, delay_all: {GREYLIST_DELAY}, auto_allow_after: 0}}}}}}
  - {{name: few, domains: [few.example], checks: {{rate: {{recipient: {{messages: 2}}}}}}}}
"""
IMPATIENT = "smtp_connect_timeout = 1s\n" + "".join(
    f"smtp_{step}_timeout = 3s\n" for step in ("helo", "mail", "rcpt", "data_init", "data_xfer", "data_done", "quit")
)
"""The sender's time-outs; Postfix' own are of minutes."""


class TwoSites:
    """Each by its letter."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self._lives = 0
        self.nodes: dict[str, NodeProcess] = {}
        self.redis: dict[str, RedisServer] = {}
        self.dovecot: dict[str, Dovecot] = {}

    def __enter__(self) -> TwoSites:
        try:
            self._raise()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _raise(self) -> None:
        self.net = self._stack.enter_context(Network(PLACES, resolver=MTA))
        with self.net.inside("mta"):
            self._stack.enter_context(NsdServer(ZONES, port=53, host=MTA))
        for site in NODE:
            with self.net.inside(f"core_{site}"):
                self.redis[site] = self._stack.enter_context(RedisServer(host=CORE[site]))
                users = tuple(f"user@{domain}" for domain in DOMAINS)
                self.dovecot[site] = Dovecot(users, host=CORE[site])
                self._stack.callback(self.dovecot[site].close)
        self._stack.callback(self._end_nodes)
        for site in NODE:
            self.nodes[site] = self._node(site)
        self.mta = Sender(self.net.within("mta"), IMPATIENT)
        self._stack.callback(self.mta.close)
        for node in self.nodes.values():
            node.wait_ready()

    def _node(self, site: str) -> NodeProcess:
        self._lives += 1
        other = next(each for each in NODE if each != site)
        near_first = [f"lmtp://{CORE[each]}:{self.dovecot[each].port}" for each in (site, other)]
        settings = {
            "hostname": f"{site}.two.example",
            "authserv_id": "mx.two.example",
            "listeners": [{"address": "0.0.0.0:25"}],
            "routes": [{"domains": list(DOMAINS), "mailstore": near_first}],
            "dns": {"servers": [f"{MTA}:53"], "timeout": 0.5},
            "store": self.redis[site].url,
            "secret": "the same at both sites, long enough",
            "workers": 1,
            "state_dir": str(self._folder / f"state-{site}"),
            "limits": {"greeting_delay": 0, "drain_timeout": 5},
        }
        with self.net.inside(f"mx_{site}"):
            return NodeProcess(self._folder / f"{site}-{self._lives}", settings, policy=POLICY)

    def _end_nodes(self) -> None:
        for node in self.nodes.values():
            if node.process.poll() is None:
                node.kill(signal.SIGTERM)
        for node in self.nodes.values():
            node.end()

    # ---- what happens to a site

    def lose(self, site: str) -> None:
        """All of it at once: nobody reaches it, and nothing in it lives."""
        for place in (f"mx_{site}", f"core_{site}"):
            self.net.link(place, up=False)
        self.nodes[site].kill_all()
        self.redis[site].stop()
        self.dovecot[site].stop()

    def bring_back(self, site: str) -> None:
        """With an empty Redis, and a mailstore that has what it had."""
        for place in (f"mx_{site}", f"core_{site}"):
            self.net.link(place, up=True)
        with self.net.inside(f"core_{site}"):
            self.redis[site].start()
            self.dovecot[site].start()
        self.nodes[site] = self._node(site)
        self.nodes[site].wait_ready()

    # ---- what is seen

    def mxgw(self, site: str, *words: str | Path) -> tuple[int, str]:
        """An operator's command, with the settings of that site's node."""
        with self.net.inside(f"mx_{site}"):
            return mxgw(*words, "--config", self.nodes[site].config)

    def digest(self, site: str) -> str:
        """Of the policy in force there."""
        with self.net.inside(f"mx_{site}"):
            return str(self.nodes[site].status()["policy"]["digest"])

    def at(self, site: str, address: str = "user@two.example") -> Counter[str]:
        """The Message-IDs in the mailbox there, and how often each."""
        return message_ids(self.dovecot[site].messages(address))

    def everywhere(self, address: str = "user@two.example") -> Counter[str]:
        """In both."""
        return self.at("a", address) + self.at("b", address)

    def perhaps_twice(self) -> set[str]:
        """The Message-IDs of which the sender says itself that it has not heard the reply to the end of data."""
        log = self.mta.log_text()
        names = dict(re.findall(r"cleanup\[\d+\]: (\w+): message-id=<([^>]+)>", log))
        return {names[each] for each in re.findall(r": (\w+): [^\n]*message may be sent more than once", log)}

    def attempt(self, site: str, to: str, name: str) -> int:
        """One message at that site: the last reply."""
        with self._session(site, to) as (client, code):
            return client.data(_message(to, name))[0] if code == 250 else code

    def lose_reply(self, site: str, to: str, name: str) -> None:
        """The same, but the client goes when the mailstore has it, and has not read the reply."""
        with self._session(site, to) as (client, code):
            assert code == 250
            assert client.docmd("DATA")[0] == 354
            client.send(f"{_message(to, name)}.\r\n")
            self.wait(lambda: self.at(site, to)[name], "the mailstore has it")
            client.close()

    @contextmanager
    def _session(self, site: str, to: str) -> Iterator[tuple[smtplib.SMTP, int]]:
        with self.net.inside("mta"), smtplib.SMTP(NODE[site], 25, "mta.sender.example", timeout=30) as client:
            client.ehlo()
            client.mail("ann@sender.example")
            yield client, client.rcpt(to)[0]

    def wait_for(self, names: Iterable[str]) -> None:
        """Until all of them are somewhere."""
        self.wait(lambda: set(names) <= set(self.everywhere()), f"all of {names}")

    def wait(self, what: Callable[[], Any], text: str, seconds: float = 60.0) -> Any:
        """Until it is true."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := what():
                return found
            time.sleep(0.1)
        logs = "\n".join(f"{site}: {line[:600]}" for site, node in self.nodes.items() for line in node.log[-5:])
        raise AssertionError(f"not in {seconds:g} s: {text}\n{logs}\n{self.mta.log_text()[-3000:]}")


def _message(to: str, name: str) -> str:
    return f"From: ann@sender.example\r\nTo: {to}\r\nMessage-ID: <{name}>\r\n\r\nx\r\n"


@contextmanager
def two_sites(folder: Path) -> Iterator[TwoSites]:
    """With all of it, and nothing of it afterwards."""
    for program in ("ip", "nsd", "redis-server", "postfix", "dovecot"):
        need(program)
    with TwoSites(folder) as sites:
        yield sites
