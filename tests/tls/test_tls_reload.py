"""New certificates take hold by themselves: files replaced, Kubernetes' symlink swapped, half a pair never."""

from __future__ import annotations

import os
import shutil
import signal
import smtplib
import ssl
from pathlib import Path

import pytest
from certificates import Authority

from gateway.smtp.tls import CertificateError, CertificateHolder


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


POLICY = "version: 1\nchecks: {rate: {enabled: false}}\n"


@pytest.fixture
def start(start_node):
    """Starts a node with this ``tls`` that answers at once, however often it is asked."""
    return lambda tls: start_node(settings={"tls": tls, "limits": {"greeting_delay": 0}}, policy=POLICY)


def served(node) -> set[bytes]:
    """The certificates that new sessions get; two workers serve, so ask some times."""
    seen = set()
    for _ in range(6):
        with smtplib.SMTP("127.0.0.1", node.smtp_port, timeout=30) as client:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            client.starttls(context=context)
            seen.add(client.sock.getpeercert(binary_form=True))
    return seen


def projected(folder, authority, number, **more):
    """A Kubernetes secret as a pod sees it: tls.crt -> ..data/tls.crt, ..data -> a folder of this version."""
    version = folder / f"..2026_{number}"
    authority.write(version, "tls", "ecdsa", f"mx{number}.example.com", **more)
    (folder / "..new").symlink_to(version.name)
    (folder / "..new").rename(folder / "..data")
    for name in ("tls.crt", "tls.key"):
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")
    return {"certificate": str(folder / "tls.crt"), "key": str(folder / "tls.key")}


def reloaded(node):
    return [e for e in node.events("tls") if e["message"] == "certificates reloaded"]


def faults(node):
    return [e for e in node.events("tls") if e["level"] == "error"]


def test_a_swapped_symlink_takes_hold_and_no_session_is_dropped(start, authority, tmp_path):
    secret = tmp_path / "secret"
    secret.mkdir()
    node = start(projected(secret, authority, 1))
    before = served(node)
    assert len(before) == 1
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        smtplib.SMTP("127.0.0.1", node.smtp_port, timeout=60) as encrypted,
        smtplib.SMTP("127.0.0.1", node.smtp_port, timeout=60) as plain,
    ):
        encrypted.starttls(context=context)
        encrypted.ehlo("client.example")
        plain.ehlo("client.example")
        projected(secret, authority, 2)
        shutil.rmtree(secret / "..2026_1")
        node.wait(lambda: reloaded(node), "the new certificate is noticed")
        node.wait(lambda: len(now := served(node)) == 1 and now != before, "both workers have it")
        assert encrypted.noop()[0] == 250
        assert plain.noop()[0] == 250
        plain.starttls(context=context)
        assert {plain.sock.getpeercert(binary_form=True)} == served(node)
    assert faults(node) == []
    gauge = "mxgw_tls_certificate_not_after_timestamp_seconds"
    assert node.metric(gauge, name="mx2.example.com") > 1.7e9
    assert str(node.metric(gauge, name="mx1.example.com")) == "nan"


def test_half_a_pair_never_comes_into_force(start, authority, tmp_path):
    pair = authority.write(tmp_path / "tls", "now", "rsa", "mx.example.com")
    authority.write(tmp_path / "tls", "next", "rsa", "mx.example.com")
    node = start(pair)
    before = served(node)
    os.replace(tmp_path / "tls" / "next.crt", pair["certificate"])
    said = node.wait(lambda: faults(node), "the mismatch is an error")[0]
    assert "the key does not belong to the certificate" in said["message"]
    assert node.metric("mxgw_reload_last_success", what="tls") == 0
    assert served(node) == before
    # a worker that is restarted meanwhile has the old pair too
    victim = node.status()["workers"][0]["pid"]
    os.kill(victim, 9)
    node.wait(
        lambda: len([w for w in node.status()["workers"] if w["ready"] and w["pid"] != victim]) == 2, "two workers"
    )
    assert served(node) == before
    os.replace(tmp_path / "tls" / "next.key", pair["key"])
    node.wait(lambda: reloaded(node), "the whole pair is taken")
    node.wait(lambda: len(now := served(node)) == 1 and now != before, "both workers have it")
    assert node.metric("mxgw_reload_last_success", what="tls") == 1
    assert len(faults(node)) == 1


def test_an_end_that_is_near_is_a_warning(start, authority, tmp_path):
    soon = authority.write(tmp_path / "tls", "soon", "ecdsa", "mx.example.com", days=5)
    over = authority.write(tmp_path / "tls", "over", "rsa", "mx.example.com", days=-1)
    node = start({"certificates": [soon, over]})
    warned = node.wait(lambda: [e["message"] for e in node.events("tls") if e["level"] == "warning"][:2], "warnings")
    assert warned[0].startswith("certificate mx.example.com (ecdsa) ends in 5.0 days")
    assert warned[1] == "certificate mx.example.com (rsa) has expired"


def test_sighup_reads_files_that_do_not_look_changed(start, authority, tmp_path):
    now = authority.write(tmp_path / "tls", "now", "ecdsa", "mx.example.com")
    new = authority.write(tmp_path / "tls", "new", "ecdsa", "mx.example.com")
    for pair in (now, new):
        for path in map(Path, pair.values()):
            path.write_bytes(path.read_bytes().ljust(8192, b"\n"))
    node = start(now)
    before = served(node)
    for kind, name in now.items():
        stat = os.stat(name)
        with open(name, "r+b") as file:
            file.write(Path(new[kind]).read_bytes())
        os.utime(name, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    node.kill(signal.SIGHUP)
    node.wait(lambda: reloaded(node), "the new certificate is read")
    node.wait(lambda: len(now := served(node)) == 1 and now != before, "both workers have it")


@pytest.mark.parametrize(
    ("name", "octets", "word"),
    [
        ("crt", b"", "no certificate"),
        ("crt", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "no certificate"),
        ("crt", None, "not found"),
        ("key", b"\xff" * 100, "no private key"),
        ("key", None, "not found"),
    ],
)
def test_a_broken_file_changes_nothing(authority, tmp_path, name, octets, word):
    pair = authority.write(tmp_path, "mx", "ecdsa", "mx.example.com")
    holder = CertificateHolder(Path(pair["certificate"]), Path(pair["key"]))
    context, pairs = holder.context(), holder.pairs
    broken = tmp_path / f"mx.{name}"
    if octets is None:
        broken.unlink()
    else:
        broken.write_bytes(octets)
    assert holder.changed()
    with pytest.raises(CertificateError, match=word) as error:
        holder.reload()
    assert str(tmp_path / "mx.crt") in str(error.value) or str(broken) in str(error.value)
    assert (holder.context(), holder.pairs) == (context, pairs)
    authority.write(tmp_path, "mx", "ecdsa", "mx.example.com")
    assert holder.changed()
    assert holder.reload() is holder.context() is not context
