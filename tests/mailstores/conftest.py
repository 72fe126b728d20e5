"""Real mailstores, each started once for all tests of the folder, and a test authority with its files."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from tests.real.dovecot import Dovecot
from tests.real.exim import Exim
from tests.real.postfix import Postfix

Real = Postfix | Dovecot | Exim

TRUSTED = "login_trusted_networks = 127.0.0.0/8\n"


@dataclass(frozen=True)
class Pem:
    """PEM files: the authority, a server's certificate for store.test, and ours as a client."""

    folder: Path

    def __getitem__(self, name: str) -> str:
        return str(self.folder / f"{name}.pem")


@pytest.fixture(scope="session")
def pem() -> Iterator[Pem]:
    # Exim reads its key as its own user, who cannot enter pytest's folders
    folder = Path(tempfile.mkdtemp(prefix="mxgw-pem-"))
    folder.chmod(0o755)
    ca = trustme.CA()
    ca.cert_pem.write_to_path(folder / "ca.pem")
    trustme.CA().cert_pem.write_to_path(folder / "strange.pem")
    for name, identity in (("store", "store.test"), ("client", "gw.example.com")):
        made = ca.issue_cert(identity)
        made.cert_chain_pems[0].write_to_path(folder / f"{name}-cert.pem")
        made.private_key_pem.write_to_path(folder / f"{name}-key.pem")
    for file in folder.iterdir():
        file.chmod(0o644)
    yield Pem(folder)
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postfix() -> Iterator[Postfix]:
    store = Postfix(domains=("example.com",), extra="inet_protocols = all\n")
    yield store
    store.close()


@pytest.fixture(scope="session")
def strict_postfix(pem: Pem) -> Iterator[Postfix]:
    """Takes mail over TLS only, and only with a client certificate of our authority."""
    store = Postfix(
        domains=("example.com",),
        extra=f"""smtpd_tls_security_level = encrypt
smtpd_tls_req_ccert = yes
smtpd_tls_ccert_verifydepth = 2
smtpd_tls_CAfile = {pem["ca"]}
smtpd_tls_cert_file = {pem["store-cert"]}
smtpd_tls_key_file = {pem["store-key"]}
smtpd_tls_loglevel = 1
""",
    )
    yield store
    store.close()


@pytest.fixture(scope="session")
def dovecot(pem: Pem) -> Iterator[Dovecot]:
    """Offers STARTTLS and XCLIENT on its LMTP port."""
    tls = f"ssl = yes\nssl_cert = <{pem['store-cert']}\nssl_key = <{pem['store-key']}\n"
    store = Dovecot(("user@example.com", "other@example.com", "broken@example.com"), extra=TRUSTED + tls)
    (store.mail / "broken@example.com").mkdir(mode=0o700)  # root's: Dovecot cannot write there
    yield store
    store.close()


@pytest.fixture(scope="session")
def exim() -> Iterator[Exim]:
    store = Exim()
    yield store
    store.close()


@pytest.fixture(scope="session")
def strict_exim(pem: Pem) -> Iterator[Exim]:
    """Offers STARTTLS and asks for a client certificate of our authority."""
    store = Exim(
        extra=f"""tls_advertise_hosts = *
tls_certificate = {pem["store-cert"]}
tls_privatekey = {pem["store-key"]}
tls_verify_certificates = {pem["ca"]}
tls_verify_hosts = *
"""
    )
    yield store
    store.close()


@pytest.fixture(params=["postfix", "exim", "dovecot"])
def real(request: pytest.FixtureRequest) -> Real:
    """Each of the three in turn: Postfix and Exim by SMTP, Dovecot by LMTP."""
    store: Real = request.getfixturevalue(request.param)
    return store
