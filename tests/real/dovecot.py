"""A real Dovecot with LMTP on a loopback port: the mailstore that answers for each recipient (RFC 2033).

Debian's package, our own configuration; nothing of /etc/dovecot is read. Needs root.
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

from tests.real.postfix import free_port


class Dovecot:
    """One instance; every user of ``users`` has a mailbox, others are refused at RCPT. extra: more settings, which win;
    @PORT@ in them is the port."""

    def __init__(
        self,
        users: tuple[str, ...] = ("user@example.com", "other@example.com"),
        extra: str = "",
        host: str = "127.0.0.1",
    ) -> None:
        if not shutil.which("dovecot") or not Path("/usr/lib/dovecot/lmtp").exists():
            pytest.skip("real component missing: dovecot (Debian packages dovecot-core, dovecot-lmtpd)")
        if os.geteuid() != 0:
            pytest.skip("real component missing: dovecot needs root")
        self.folder = Path(tempfile.mkdtemp(prefix="mxgw-dovecot-"))
        self.folder.chmod(0o755)
        self.mail = self.folder / "mail"
        self.mail.mkdir()
        nobody = pwd.getpwnam("nobody")
        os.chown(self.mail, nobody.pw_uid, nobody.pw_gid)
        self.host, self.port = host, free_port(host)
        self.log = self.folder / "dovecot.log"
        users_file = self.folder / "users"
        users_file.write_text("".join(f"{user}:{{PLAIN}}x::::::\n" for user in users))
        config = self.folder / "dovecot.conf"
        config.write_text(
            f"""base_dir = {self.folder}/run
state_dir = {self.folder}/state
log_path = {self.log}
protocols = lmtp
ssl = no
auth_mechanisms = plain
mail_location = maildir:{self.mail}/%u
mail_uid = {nobody.pw_uid}
mail_gid = {nobody.pw_gid}
first_valid_uid = 1
first_valid_gid = 1
default_internal_user = dovecot
default_login_user = dovenull
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {users_file}
}}
userdb {{
  driver = passwd-file
  args = username_format=%u {users_file}
  default_fields = uid={nobody.pw_uid} gid={nobody.pw_gid} home={self.mail}/%u
}}
service lmtp {{
  inet_listener lmtp {{
    address = {host}
    port = {self.port}
  }}
}}
protocol lmtp {{
  postmaster_address = postmaster@example.com
}}
{extra.replace("@PORT@", str(self.port))}
"""
        )
        self._config = config
        self.start()

    def start(self) -> None:
        """Begin, or begin again with what was delivered before."""
        self._process = subprocess.Popen(
            ["dovecot", "-F", "-c", str(self._config)], stdout=subprocess.DEVNULL, stderr=self.log.open("ab")
        )
        end = time.monotonic() + 20
        while time.monotonic() < end:
            try:
                with socket.create_connection((self.host, self.port), 1) as client:
                    client.settimeout(5)
                    if client.recv(200).startswith(b"220"):
                        return
            except OSError:
                time.sleep(0.1)
        text = self.log.read_text(errors="replace")
        self.close()
        raise RuntimeError("dovecot does not answer: " + text)

    def messages(self, user: str = "user@example.com") -> list[bytes]:
        """What was delivered to a user (Dovecot's own fields on top), oldest first."""
        folder = self.mail / user / "new"
        # by time: the microseconds in a name have no leading zeros
        found = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns) if folder.is_dir() else []
        return [path.read_bytes() for path in found]

    def stop(self) -> None:
        """End it; nothing listens any more."""
        self._process.terminate()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(5)

    def close(self) -> None:
        """Stop it and remove the folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
