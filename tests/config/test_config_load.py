"""Defaults, paths, variables, origins, certificates."""

import re
from pathlib import Path

import pytest
import trustme

from gateway.config import Settings, load_settings, split_address
from gateway.yamlfile import FaultsError

SMALL = "state_dir: state\nroutes:\n  - domains: [example.com]\n    mailstore: smtp://10.1.0.5:25\n"


def _write(folder: Path, text: str) -> Path:
    path = folder / "gateway.yaml"
    path.write_text(text)
    return path


def _faults(path: Path, **environ: str) -> str:
    with pytest.raises(FaultsError) as caught:
        load_settings(path, environ)
    return str(caught.value)


def test_the_smallest_file_gets_all_defaults(tmp_path: Path) -> None:
    settings = load_settings(_write(tmp_path, SMALL), {})
    assert settings.hostname == settings.authserv_id
    assert [listener.address for listener in settings.listeners] == ["0.0.0.0:2525"]
    assert settings.state_dir == tmp_path / "state"
    assert settings.store == f"sqlite:///{tmp_path}/state/store.sqlite3"
    assert settings.admin.port == 8025
    assert settings.worker_count >= 1
    assert settings.policy is None
    assert settings.tls is None


def test_the_file_of_the_documentation_loads(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "settings.md").read_text()
    example = re.search(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert example
    text = example[1].replace("tls: {", "# tls: {").replace("policy: ", "# policy: ")
    settings = load_settings(_write(tmp_path, text.replace("/var/lib/mxgw", "state")), {})
    assert settings.hostname == "mx1.example.net"
    assert settings.routes[0].domains == ("example.com", "*.example.org")


def test_a_node_is_called_by_its_hostname_unless_it_is_named(tmp_path: Path) -> None:
    path = _write(tmp_path, "hostname: mx.example\n" + SMALL)
    assert load_settings(path, {}).node == "mx.example"
    named = load_settings(path, {"MXGW_NODE": "mxgw-7d4b9c-x2x7q"})
    assert (named.hostname, named.node, named.origin["node"]) == ("mx.example", "mxgw-7d4b9c-x2x7q", "MXGW_NODE")
    assert "MXGW_NODE:0: node: must be letters" in _faults(path, MXGW_NODE="one two")


def test_variables_beside_the_settings_are_read_as_systemd_reads_them(tmp_path: Path) -> None:
    path = _write(tmp_path, "hostname: a.example\n" + SMALL)
    (tmp_path / "environment").write_text(
        "# what is secret\n\n; so\nMXGW_SECRET='a b#c\\d 0123456789'\nMXGW_NODE = \"mx1\"\nMXGW_WORKERS=\nOTHER=x\n"
        "MXGW_STORE=rediss://:a\\\\b=c@redis.example.net:6379/0\n"
    )
    settings = load_settings(path, {"MXGW_HOSTNAME": "b.example", "MXGW_NODE": ""})
    assert settings.secret
    assert settings.secret.get_secret_value() == "a b#c\\d 0123456789"
    assert settings.store == "rediss://:a\\b=c@redis.example.net:6379/0"
    assert (settings.hostname, settings.node, settings.workers) == ("b.example", "mx1", "auto")
    origins = [settings.origin[key] for key in ("hostname", "node", "store", "secret", "workers")]
    assert origins == ["MXGW_HOSTNAME", "environment:5", "environment:8", "environment:4", "default"]
    # the process's own variables win
    assert load_settings(path, {"MXGW_STORE": "memory://"}).store == "memory://"


def test_a_fault_beside_the_settings_has_its_file_and_line(tmp_path: Path) -> None:
    path = _write(tmp_path, SMALL)
    (tmp_path / "environment").write_text("\nMXGW_STORE=redi://x\n")
    assert f"{tmp_path}/environment:2: store: the store must begin with" in _faults(path)
    (tmp_path / "environment").write_bytes(b"# caf\xe9\nMXGW_SECRET=sixteen characters \xff\xfe\n")
    told = _faults(path)
    assert told == f"{tmp_path}/environment:2: secret: is not UTF-8 text; write it in UTF-8"


def test_an_octet_of_latin_1_in_a_comment_beside_the_settings_is_no_fault(tmp_path: Path) -> None:
    path = _write(tmp_path, SMALL)
    (tmp_path / "environment").write_bytes(b"# caf\xe9\nOTHER=\xff\nMXGW_NODE=mx1\n")
    assert load_settings(path, {}).node == "mx1"


STORE, SECRET = {"MXGW_STORE": "redis://h"}, {"MXGW_SECRET": "sixteen characters"}


@pytest.mark.parametrize(
    ("given", "command", "node"),
    [
        ({}, "fault", "warned"),
        ({"MXGW_NODE": "mx1"}, "fault", "warned"),
        (STORE, "fault", ""),
        (SECRET, "fault", ""),
        (STORE | SECRET, "", ""),
    ],
    ids=["nothing", "a name", "a store", "a secret", "both"],
)
def test_a_file_beside_the_settings_that_cannot_be_read(
    tmp_path: Path, given: dict[str, str], command: str, node: str
) -> None:
    """A command would go to another store in silence; a node has its variables of systemd, which reads it as root."""
    path = _write(tmp_path, SMALL)
    # a file whose octets not even root gets
    (tmp_path / "environment").symlink_to("/proc/self/mem")
    if command:
        told = _faults(path, **given)
        assert told.startswith(f"{tmp_path}/environment:0: cannot be read: ")
        assert told.endswith("; be root or in its group, or give both MXGW_STORE and MXGW_SECRET yourself")
    else:
        assert load_settings(path, given).store == given["MXGW_STORE"]
    warnings = load_settings(path, given, node=True).warnings
    assert any("environment cannot be read: " in warning for warning in warnings) == bool(node)


@pytest.mark.parametrize(
    ("text", "mode", "folder", "warned"),
    [
        ("MXGW_SECRET=sixteen characters", 0o644, 0o755, True),
        ("MXGW_STORE=redis://:pw@h", 0o644, 0o755, True),
        ("MXGW_SECRET=sixteen characters", 0o640, 0o755, False),
        ("MXGW_SECRET=sixteen characters", 0o644, 0o750, False),
        ("MXGW_STORE=redis://h\nMXGW_NODE=mx1", 0o644, 0o755, False),
    ],
)
def test_a_secret_beside_the_settings_that_all_can_read_is_warned_of(
    tmp_path: Path, text: str, mode: int, folder: int, warned: bool
) -> None:
    path = _write(tmp_path, SMALL)
    (tmp_path / "environment").write_text(text)
    (tmp_path / "environment").chmod(mode)
    tmp_path.chmod(folder)
    for node in (False, True):
        warnings = load_settings(path, {}, node=node).warnings
        assert (
            f"secret: every user can read {tmp_path}/environment; chgrp mxgw and chmod 0640 it" in warnings
        ) == warned


def test_a_variable_wins_and_is_the_origin(tmp_path: Path) -> None:
    path = _write(tmp_path, "hostname: a.example\nlog: {format: text}\n" + SMALL)
    settings = load_settings(path, {"MXGW_HOSTNAME": "b.example", "MXGW_WORKERS": "3", "MXGW_STORE": ""})
    assert settings.hostname == "b.example"
    assert settings.workers == 3
    assert settings.origin["hostname"] == "MXGW_HOSTNAME"
    assert settings.origin["workers"] == "MXGW_WORKERS"
    assert settings.origin["log.format"] == "gateway.yaml:2"
    assert settings.origin["log.level"] == "default"
    assert settings.origin["store"] == "default"
    assert settings.origin["routes[0].mailstore[0]"] == "gateway.yaml:6"


def test_the_admin_port_has_a_variable_for_hosts_that_share_a_file(tmp_path: Path) -> None:
    one = {"MXGW_ADMIN_ADDRESS": "[10.0.0.5]:8025"}
    settings = load_settings(_write(tmp_path, SMALL), one)
    assert (settings.admin.host, settings.admin.port) == ("10.0.0.5", 8025)
    assert settings.origin["admin.address"] == "MXGW_ADMIN_ADDRESS"
    path = _write(tmp_path, SMALL + "admin: {address: 127.0.0.1:9, page: false}\n")
    settings = load_settings(path, one)
    assert (settings.admin.host, settings.admin.page) == ("10.0.0.5", False)
    assert "MXGW_ADMIN_ADDRESS:0: admin.address: the part before" in _faults(path, MXGW_ADMIN_ADDRESS="mx1:8025")
    assert "admin: " in _faults(_write(tmp_path, SMALL + "admin: 8025\n"), **one)


def test_a_bad_variable_is_named(tmp_path: Path) -> None:
    told = _faults(_write(tmp_path, SMALL), MXGW_WORKERS="0", MXGW_STATE_DIR="/dev/null/x", MXGW_POLICY="gone.yaml")
    assert "MXGW_WORKERS:0: workers: must be auto or a number from 1 to 256" in told
    assert "MXGW_STATE_DIR:0: state_dir: /dev/null is not a folder" in told
    assert "MXGW_POLICY:0: policy: there is no file 'gone.yaml'" in told


def test_variables_that_kubernetes_makes_are_let_be(tmp_path: Path) -> None:
    load_settings(_write(tmp_path, SMALL), {"MXGW_PORT": "tcp://10.0.0.1:25", "MXGW_SERVICE_HOST": "10.0.0.1"})


def test_passwords_do_not_stand_in_faults_or_in_the_value(tmp_path: Path) -> None:
    assert "hunter2" not in _faults(
        _write(tmp_path, SMALL), MXGW_STORE="reds://u:hunter2@10.0.0.1", MXGW_SECRET="hunter2"
    )
    settings = load_settings(_write(tmp_path, SMALL), {"MXGW_SECRET": "hunter2hunter2hunter2"})
    assert "hunter2" not in repr(settings)


def test_settings_are_frozen(tmp_path: Path) -> None:
    settings = load_settings(_write(tmp_path, SMALL), {})
    with pytest.raises(ValueError, match="frozen"):
        settings.hostname = "x.example"  # type: ignore[misc]


def test_certificate_and_key_that_belong_together(tmp_path: Path) -> None:
    authority = trustme.CA()
    one, other = authority.issue_cert("mx1.example.net"), authority.issue_cert("mx1.example.net")
    one.cert_chain_pems[0].write_to_path(tmp_path / "tls.crt")
    one.private_key_pem.write_to_path(tmp_path / "tls.key")
    other.private_key_pem.write_to_path(tmp_path / "other.key")
    tls = "tls: {certificate: tls.crt, key: tls.key}\n"
    settings = load_settings(_write(tmp_path, SMALL + tls), {})
    assert settings.tls
    assert settings.tls.key == tmp_path / "tls.key"
    told = _faults(_write(tmp_path, SMALL + tls.replace("tls.key", "other.key")))
    assert "gateway.yaml:5: tls.key: does not belong to the certificate" in told


def test_sqlite_beside_the_file_and_absolute(tmp_path: Path) -> None:
    path = _write(tmp_path, SMALL)
    assert load_settings(path, {"MXGW_STORE": "sqlite:///x.db"}).store == f"sqlite:///{tmp_path}/x.db"
    assert load_settings(path, {"MXGW_STORE": "sqlite:////srv/x.db"}).store == "sqlite:////srv/x.db"


@pytest.mark.parametrize("text", ["", ":25", "0.0.0.0", "::1:25", "[::1]", "host:25", "1.2.3.4:-1", "1.2.3.4:٣"])
def test_not_an_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be|port"):
        split_address(text)


def test_a_free_port_may_be_asked_for_twice(tmp_path: Path) -> None:
    text = SMALL + "listeners: [{address: '127.0.0.1:0'}, {address: '127.0.0.1:0'}]\n"
    assert len(load_settings(_write(tmp_path, text), {}).listeners) == 2


def test_limits_become_those_of_the_wire(tmp_path: Path) -> None:
    settings = load_settings(_write(tmp_path, SMALL + "limits: {message_octets: 70000}\n"), {})
    assert settings.limits.wire().message_octets == 70000
    assert isinstance(settings, Settings)


@pytest.mark.parametrize(
    ("store", "secret", "warned"),
    [
        ("redis://127.0.0.1:6379/0", None, True),
        ("sentinel://a:26379/mail", None, True),
        ("cluster://a:6379", "a secret of sixteen", False),
        ("memory://", None, False),
        ("", None, False),
    ],
)
def test_a_shared_store_without_a_secret_is_warned_of(
    tmp_path: Path, store: str, secret: str | None, warned: bool
) -> None:
    more = (f"store: {store}\n" if store else "") + (f"secret: {secret}\n" if secret else "")
    file = tmp_path / "gateway.yaml"
    file.write_text("routes: [{domains: [example.com], mailstore: 'smtp://127.0.0.1:25'}]\n" + more, encoding="utf-8")
    assert any("secret" in warning for warning in load_settings(file, {}).warnings) == warned
