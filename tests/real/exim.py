"""A real Exim in a folder of its own, as the mailstore behind a node: ``user``, ``other`` and ``postmaster`` of its domain
have Maildirs, others are refused at RCPT.

Debian's exim4-daemon-light conflicts with postfix, so deploy/dev/install-packages unpacks it below .test/debian and makes
its system user; nothing of /etc/exim4 is read. Needs root to become that user.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from tests.real.debian import MISSING
from tests.real.postfix import free_port

UNPACKED = Path(__file__).parents[2] / ".test/debian/exim4-daemon-light/usr/sbin/exim4"
USER = "Debian-exim"
REMEDY = "as root: deploy/dev/install-packages deploy/debian-packages.txt"


def _program() -> str:
    path = shutil.which("exim4", path=os.environ.get("PATH", "") + ":/usr/sbin") or str(UNPACKED)
    if not Path(path).exists():
        pytest.skip(f"{MISSING} exim4 (Debian package exim4-daemon-light; {REMEDY})")
    if os.geteuid() != 0:
        pytest.skip(f"{MISSING} exim4 needs root")
    try:
        pwd.getpwnam(USER)
    except KeyError:
        pytest.skip(f"{MISSING} exim4 (its system user {USER}; {REMEDY})")
    works = subprocess.run([path, "-bV"], capture_output=True, text=True, check=False, timeout=30)
    if "Exim version" not in works.stdout:
        pytest.skip(f"{MISSING} exim4 (it does not run: {works.stderr.strip()}; {REMEDY})")
    return path


class Exim:
    """One instance. extra: lines for the main section of its configuration; without any it offers no TLS."""

    def __init__(self, domain: str = "example.com", extra: str = "") -> None:
        program = _program()
        self.folder = Path(tempfile.mkdtemp(prefix="mxgw-exim-"))
        self.folder.chmod(0o755)
        owner = pwd.getpwnam(USER)
        self.mail, self.log = self.folder / "mail", self.folder / "log"
        for folder in (self.mail, self.log, self.folder / "spool"):
            folder.mkdir()
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        self.port = free_port()
        config = self.folder / "exim.conf"
        config.write_text(
            f"""primary_hostname = store.example.net
spool_directory = {self.folder}/spool
log_file_path = {self.log}/%s
pid_file_path = {self.folder}/spool/exim.pid
local_interfaces = 127.0.0.1.{self.port}
keep_environment =
deliver_drop_privilege = true
host_lookup =
rfc1413_query_timeout = 0s
smtp_accept_queue_per_connection = 0
smtp_accept_max = 100
prdr_enable = true
dsn_advertise_hosts = *
smtputf8_advertise_hosts = *
chunking_advertise_hosts = *
message_size_limit = 60M
log_selector = +8bitmime +pipelining +received_recipients +tls_cipher +tls_peerdn
acl_smtp_rcpt = acl_rcpt
acl_smtp_data = accept
acl_smtp_predata = accept
{extra or "tls_advertise_hosts ="}
begin acl
acl_rcpt:
  accept domains = {domain}
         local_parts = user : other : postmaster
  deny   message = 5.1.1 Unknown user
begin routers
boxes:
  driver = accept
  domains = {domain}
  local_parts = user : other : postmaster
  transport = maildir
begin transports
maildir:
  driver = appendfile
  maildir_format
  directory = {self.mail}/$local_part_data
  user = {USER}
  return_path_add
  envelope_to_add
"""
        )
        config.chmod(0o644)
        self._process = subprocess.Popen(
            [program, "-C", str(config), "-bdf"],
            stdout=subprocess.DEVNULL, stderr=(self.folder / "stderr").open("wb"), start_new_session=True,
        )  # fmt: skip
        end = time.monotonic() + 20
        while time.monotonic() < end and self._process.poll() is None:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as client:
                    client.settimeout(5)
                    if client.recv(200).startswith(b"220"):
                        return
            except OSError:
                time.sleep(0.05)
        text = (self.folder / "stderr").read_text(errors="replace") + self.log_text()
        self.close()
        raise RuntimeError("exim does not answer: " + text)

    def messages(self, user: str = "user") -> list[bytes]:
        """What was delivered to a user, Exim's own fields on top and LF line endings, oldest first."""
        folder = self.mail / user / "new"
        return [path.read_bytes() for path in sorted(folder.iterdir())] if folder.is_dir() else []

    def log_text(self) -> str:
        """Its main, reject and panic logs."""
        return "".join(path.read_text(errors="replace") for path in sorted(self.log.iterdir()))

    def close(self) -> None:
        """Stop it with its children and remove the folder."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait(5)
        shutil.rmtree(self.folder, ignore_errors=True)


def submit(port: int, reverse_path: str, recipients: list[str], octets: bytes) -> str:
    """Exim as the sending MTA: hands one message to 127.0.0.1:port at once. Returns its debugging talk with the dialog.
    Octets have CRLF line ends. It uses BDAT, PRDR, DSN and PIPELINING when they are offered."""
    program = _program()
    owner = pwd.getpwnam(USER)
    folder = Path(tempfile.mkdtemp(prefix="mxgw-exim-out-"))
    try:
        folder.chmod(0o755)
        os.chown(folder, owner.pw_uid, owner.pw_gid)
        config = folder / "exim.conf"
        config.write_text(
            f"""exim_path = {program}
primary_hostname = mta.example.net
spool_directory = {folder}/spool
log_file_path = {folder}/spool/%s
keep_environment =
host_lookup =
begin routers
node:
  driver = manualroute
  transport = out
  route_list = * 127.0.0.1 byname
  self = send
begin transports
out:
  driver = smtp
  port = {port}
  hosts_try_prdr = *
  hosts_try_chunking = *
  multi_domain = true
  tls_verify_certificates =
"""
        )
        config.chmod(0o644)
        # -odf: deliver before it returns; -oi: a dot on a line of its own ends nothing
        done = subprocess.run(
            [program, "-C", str(config), "-odf", "-oi", "-d+transport", "-f", reverse_path, *recipients],
            input=octets.replace(b"\r\n", b"\n"), capture_output=True, check=False, timeout=60,
        )  # fmt: skip
        return done.stderr.decode(errors="replace")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
