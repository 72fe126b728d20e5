"""A mailstore in the settings: URL or mapping, one or many; its files lie beside the settings file."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
import trustme
import yaml

from gateway.config import Settings, load_settings
from gateway.config.model import settings_schema
from gateway.delivery.url import MailstoreUrl


def mailstores(folder: Path, written: str) -> tuple[str, ...]:
    """What the settings make of the value of ``mailstore:``."""
    path = folder / "gateway.yaml"
    text = f"state_dir: state\nroutes:\n  - domains: [example.com]\n    mailstore: {written}\n"
    path.write_text(text)
    settings: Settings = load_settings(path, {})
    jsonschema.validate(yaml.safe_load(text.replace("off", "'off'").replace("no}", "'no'}")), settings_schema())
    assert settings.origin["routes[0].mailstore[0]"] == "gateway.yaml:4"
    return settings.routes[0].mailstore


@pytest.mark.parametrize(
    ("written", "urls"),
    [
        ("smtp://10.1.0.5", ("smtp://10.1.0.5",)),
        ("{url: smtp://10.1.0.5}", ("smtp://10.1.0.5",)),
        ("{url: 'smtp://10.1.0.5:25', weight: 2, sessions: 20}", ("smtp://10.1.0.5:25?weight=2&sessions=20",)),
        ("['smtp://10.1.0.5', {url: lmtp://10.1.0.6, weight: 0.5}]", ("smtp://10.1.0.5", "lmtp://10.1.0.6?weight=0.5")),
        ("{url: 'smtp://10.1.0.5?rate=5', sessions: 0, weight: 0}", ("smtp://10.1.0.5?rate=5",)),
        # words of YAML 1.1 that must not become truth values and vanish
        (
            "{url: smtp://10.1.0.5, tls: off, xclient: off, verify: no}",
            ("smtp://10.1.0.5?tls=off&xclient=off&verify=no",),
        ),
    ],
)
def test_a_mapping_is_the_url_with_its_options(tmp_path: Path, written: str, urls: tuple[str, ...]) -> None:
    assert mailstores(tmp_path, written) == urls


def test_false_is_no_and_does_not_vanish(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(
        "state_dir: s\nroutes: [{domains: [example.com], mailstore: {url: smtp://10.1.0.5, verify: false}}]\n"
    )
    (url,) = load_settings(path, {}).routes[0].mailstore
    assert not MailstoreUrl.parse(url).verify


def test_relative_files_lie_beside_the_settings_file(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    made = authority.issue_cert("gw.example.com")
    made.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    made.private_key_pem.write_to_path(tmp_path / "key.pem")
    (url,) = mailstores(
        tmp_path,
        "{url: smtp://10.1.0.5, tls: verify, name: store.example.com, ca: ca.pem, cert: ./cert.pem, key: key.pem}",
    )
    read = MailstoreUrl.parse(url)
    assert (read.ca, read.cert, read.key) == tuple(str(tmp_path / f"{name}.pem") for name in ("ca", "cert", "key"))
    (url,) = mailstores(tmp_path, "'maildir:./mail'")
    assert url == f"maildir:{tmp_path}/mail"
