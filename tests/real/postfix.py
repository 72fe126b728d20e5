"""A real Postfix in a folder of its own: as the mailstore behind a node, or as the sending MTA in front of it.

Debian's package, our own configuration and queue; nothing of /etc/postfix or the system's spool is touched. Needs root
(Postfix's master does). The folder lies under the temporary directory because Postfix's own user must reach it.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

MASTER = """
cleanup   unix  n       -       n       -       0       cleanup
pickup    unix  n       -       n       1       1       pickup
qmgr      unix  n       -       n       1       1       qmgr
tlsmgr    unix  -       -       n       1000?   1       tlsmgr
rewrite   unix  -       -       n       -       -       trivial-rewrite
bounce    unix  -       -       n       -       0       bounce
defer     unix  -       -       n       -       0       bounce
trace     unix  -       -       n       -       0       bounce
verify    unix  -       -       n       -       1       verify
flush     unix  n       -       n       1000?   0       flush
proxymap  unix  -       -       n       -       -       proxymap
smtp      unix  -       -       n       -       -       smtp
relay     unix  -       -       n       -       -       smtp
error     unix  -       -       n       -       -       error
retry     unix  -       -       n       -       -       error
virtual   unix  -       n       n       -       -       virtual
local     unix  -       n       n       -       -       local
anvil     unix  -       -       n       -       1       anvil
scache    unix  -       -       n       -       1       scache
postlog   unix-dgram n  -       n       -       1       postlogd
"""


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


class Postfix:
    """One instance. ``domains`` = deliver these into Maildirs; ``relay_to`` = send everything there. extra: more settings,
    which win. host: where it listens. within: a command that runs its commands elsewhere (``ip netns exec NAME``)."""

    def __init__(
        self,
        *,
        domains: tuple[str, ...] = (),
        relay_to: tuple[str, int] | None = None,
        extra: str = "",
        host: str = "127.0.0.1",
        within: tuple[str, ...] = (),
    ) -> None:
        if not shutil.which("postfix"):
            pytest.skip("real component missing: postfix (Debian package postfix)")
        if os.geteuid() != 0:
            pytest.skip("real component missing: postfix needs root")
        self.folder = Path(tempfile.mkdtemp(prefix="mxgw-postfix-"))
        self.folder.chmod(0o755)
        self.conf, self.queue, self.mail = self.folder / "conf", self.folder / "queue", self.folder / "mail"
        self.host, self._within = host, within
        self.port = free_port(host)
        self.log = self.folder / "log" / "maillog"
        self._write(domains, relay_to, extra)
        self._run("start")
        if domains:
            self._await_greeting()

    def _write(self, domains: tuple[str, ...], relay_to: tuple[str, int] | None, extra: str) -> None:
        owner = pwd.getpwnam("postfix")
        nobody = pwd.getpwnam("nobody")
        for folder in (self.conf, self.queue, self.folder / "data", self.mail, self.log.parent):
            folder.mkdir()
        os.chown(self.folder / "data", owner.pw_uid, owner.pw_gid)
        os.chown(self.mail, nobody.pw_uid, nobody.pw_gid)
        for name in ("post-install", "postfix-files", "postfix-script"):
            if Path("/etc/postfix", name).exists():
                shutil.copy(Path("/etc/postfix", name), self.conf / name)
        relay = f"relayhost = [{relay_to[0]}]:{relay_to[1]}" if relay_to else "default_transport = error:no other mail"
        settings = (
            f"""compatibility_level = 3.6
queue_directory = {self.queue}
data_directory = {self.folder}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = {self.log}
maillog_file_prefixes = {self.log.parent}
multi_instance_enable = no
myhostname = mta.example.net
myorigin = example.net
mydestination =
inet_interfaces = {self.host}
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtp_dns_support_level = disabled
smtp_host_lookup = native
smtp_tls_security_level = may
alias_maps =
alias_database =
local_recipient_maps =
virtual_mailbox_domains = {" ".join(domains)}
virtual_mailbox_base = {self.mail}
virtual_mailbox_maps = inline:{{ {" ".join(f"{{ {user}@{domain} = {user}/ }}" for domain in domains for user in ("user", "other", "postmaster"))} }}
virtual_uid_maps = static:{nobody.pw_uid}
virtual_gid_maps = static:{nobody.pw_gid}
virtual_minimum_uid = 100
minimal_backoff_time = 2s
maximal_backoff_time = 4s
queue_run_delay = 2s
smtpd_error_sleep_time = 0
smtpd_authorized_xclient_hosts = 127.0.0.1
message_size_limit = 60000000
mailbox_size_limit = 0
virtual_mailbox_limit = 0
header_checks =
{relay}
{extra}
"""
        )
        # one line a name: Postfix takes the last, but complains at each command
        lines = {line.partition("=")[0].strip(): line for line in settings.splitlines() if line}
        (self.conf / "main.cf").write_text("\n".join(lines.values()) + "\n")
        listen = f"{self.host}:{self.port} inet n - n - - smtpd\n"
        (self.conf / "master.cf").write_text(listen + MASTER)

    def _run(self, *arguments: str) -> None:
        done = subprocess.run([*self._within, "postfix", "-c", str(self.conf), *arguments], capture_output=True, text=True, timeout=60, check=False)
        if done.returncode and arguments[0] != "stop":
            raise RuntimeError(f"postfix {arguments}: {done.stderr}{done.stdout}")

    def _await_greeting(self) -> None:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            try:
                with socket.create_connection((self.host, self.port), 1) as client:
                    client.settimeout(5)
                    if client.recv(200).startswith(b"220"):
                        return
            except OSError:
                time.sleep(0.1)
        raise RuntimeError("postfix does not answer: " + self.log_text())

    def submit(self, reverse_path: str, recipients: list[str], message: bytes) -> None:
        """Give it a message to send (sendmail; LF line endings as Unix does)."""
        subprocess.run(
            ["/usr/sbin/sendmail", "-C", str(self.conf), "-i", "-f", reverse_path, *recipients],
            input=message.replace(b"\r\n", b"\n"), check=True, timeout=30,
        )

    def flush(self) -> None:
        """Try the deferred queue now."""
        subprocess.run(["postqueue", "-c", str(self.conf), "-f"], check=False, timeout=30)

    def queued(self) -> int:
        """Messages in the queue."""
        out = subprocess.run(["postqueue", "-c", str(self.conf), "-j"], capture_output=True, text=True, timeout=30, check=False)
        return len(out.stdout.splitlines())

    def messages(self, user: str = "user") -> list[bytes]:
        """What was delivered to a user, with Postfix's own fields on top and LF line endings, oldest first."""
        folder = self.mail / user / "new"
        return [path.read_bytes() for path in sorted(folder.iterdir())] if folder.is_dir() else []

    def log_text(self) -> str:
        """Its log."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def close(self) -> None:
        """Stop it and remove the folder."""
        self._run("stop")
        end = time.monotonic() + 10
        pid_file = self.queue / "pid" / "master.pid"
        while time.monotonic() < end and pid_file.exists() and _alive(pid_file):
            time.sleep(0.1)
        shutil.rmtree(self.folder, ignore_errors=True)


def _alive(pid_file: Path) -> bool:
    try:
        os.kill(int(pid_file.read_text().strip() or 0), 0)
    except (OSError, ValueError):
        return False
    return True


def original(delivered: bytes, first_field: bytes = b"Received:") -> bytes:
    """Delivered octets as CRLF, less the fields that the last MTA put on top (Return-Path, Delivered-To, its own
    Received): everything from the first field that names mxgw on."""
    text = delivered.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    marker = text.find(b"(mxgw)")
    start = text.rfind(b"\r\n" + first_field, 0, marker)
    return text[start + 2 :] if start >= 0 else text
