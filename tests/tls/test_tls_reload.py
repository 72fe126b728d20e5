"""New certificates take hold by themselves: files replaced, Kubernetes' symlink swapped, half a pair never."""

from __future__ import annotations

import os
import shutil
import smtplib
import ssl

import pytest
from certificates import Authority


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def served(node) -> str:
    """Serial number of the certificate that a new session gets; two workers serve, so ask some times."""
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


def test_a_swapped_symlink_takes_hold_and_no_session_is_dropped(start_node, authority, tmp_path):
    secret = tmp_path / "secret"
    secret.mkdir()
    node = start_node(settings={"tls": projected(secret, authority, 1)})
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


def test_half_a_pair_never_comes_into_force(start_node, authority, tmp_path):
    pair = authority.write(tmp_path / "tls", "now", "rsa", "mx.example.com")
    authority.write(tmp_path / "tls", "next", "rsa", "mx.example.com")
    node = start_node(settings={"tls": pair})
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


def test_an_end_that_is_near_is_a_warning(start_node, authority, tmp_path):
    soon = authority.write(tmp_path / "tls", "soon", "ecdsa", "mx.example.com", days=5)
    over = authority.write(tmp_path / "tls", "over", "rsa", "mx.example.com", days=-1)
    node = start_node(settings={"tls": {"certificates": [soon, over]}})
    warned = node.wait(lambda: [e["message"] for e in node.events("tls") if e["level"] == "warning"][:2], "warnings")
    assert warned[0].startswith("certificate mx.example.com (ecdsa) ends in 5.0 days")
    assert warned[1] == "certificate mx.example.com (rsa) has expired"
