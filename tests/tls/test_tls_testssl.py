"""testssl.sh against a node with an ECDSA and an RSA certificate of a test CA: nothing above LOW.

Left out for its time: each cipher one by one and the client simulations. The categories of ciphers cover the one, and
test_tls_choice the other.
"""

from __future__ import annotations

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from certificates import Authority
from debian import need
from node_process import NodeProcess

# all connections come from one client in a few seconds, which the limits would stop
POLICY = "version: 1\nchecks: {rate: {enabled: false}}\n"

PARTS = {
    "protocols": ("--protocols", "--std"),
    "defaults": ("--server-defaults",),
    "vulnerabilities": ("--vulnerable",),
}


@pytest.fixture(scope="module")
def findings(tmp_path_factory):
    """id -> finding, of all parts together; they run side by side, since testssl.sh mostly waits."""
    program, openssl = need("testssl"), need("openssl")
    folder = tmp_path_factory.mktemp("testssl")
    authority = Authority()
    (folder / "root.pem").write_bytes(authority.certificate)
    first = authority.write(folder, "ecdsa", "ecdsa", "mx.example.com")
    second = authority.write(folder, "rsa", "rsa", "mx.example.com")
    settings = {"tls": {**first, "certificates": [second]}, "limits": {"greeting_delay": 0}}
    node = NodeProcess(folder / "node", settings, policy=POLICY)

    def run(part):
        found = folder / f"{part}.json"
        command = [
            program, "--starttls", "smtp", "--openssl", openssl, "--add-ca", str(folder / "root.pem"), "--nodns", "none",
            "--ip", "127.0.0.1", "--color", "0", "--warnings", "off", "--quiet", "--jsonfile", str(found), *PARTS[part],
            f"mx.example.com:{node.smtp_port}",
        ]  # fmt: skip
        shown = subprocess.run(command, capture_output=True, check=False, timeout=240, cwd=folder)
        assert found.exists(), shown.stdout + shown.stderr
        return json.loads(found.read_text())

    try:
        node.wait_ready()
        with ThreadPoolExecutor(len(PARTS)) as pool:
            lists = list(pool.map(run, PARTS))
        assert not [record for record in node.records if "traceback" in record]
        return {finding["id"]: finding for found in lists for finding in found}
    finally:
        node.end()


def test_nothing_is_above_low(findings):
    above = [finding for finding in findings.values() if finding["severity"] not in ("OK", "INFO", "LOW")]
    # a TLS 1.2 session that is resumed by its id, on the same worker, is more than testssl.sh can follow over STARTTLS
    puzzled = {"id": "sessionresumption_ID", "severity": "WARN", "finding": "check failed, pls report"}
    assert [finding for finding in above if not puzzled.items() <= finding.items()] == []


def test_it_looked_at_everything(findings):
    # a scan that could not connect finds nothing either
    for asked in ("SSLv2", "SSLv3", "TLS1", "TLS1_1"):
        assert findings[asked]["finding"].startswith("not offered"), findings[asked]
    for asked in ("TLS1_2", "TLS1_3"):
        assert findings[asked]["finding"].startswith("offered"), findings[asked]
    assert findings["cipherlist_STRONG"]["severity"] == "OK"
    assert findings["cert_keySize <cert#1>"]["finding"].startswith(("RSA", "EC"))
    assert findings["cert_keySize <cert#2>"]["finding"].startswith(("RSA", "EC"))
    assert findings["cert_chain_of_trust <cert#1>"]["finding"].startswith("passed")
    assert findings["cert_trust <cert#2>"]["severity"] == "OK"
    for flaw in ("heartbleed", "CCS", "ROBOT", "secure_renego", "secure_client_renego", "CRIME_TLS", "POODLE_SSL"):
        assert findings[flaw]["severity"] == "OK", findings[flaw]
    for flaw in ("SWEET32", "FREAK", "DROWN", "LOGJAM", "BEAST", "LUCKY13", "RC4"):
        assert findings[flaw]["severity"] == "OK", findings[flaw]


def test_no_tickets(findings):
    assert "no -- no lifetime" in findings["TLS_session_ticket"]["finding"]
    assert findings["sessionresumption_ticket"]["finding"] == "not supported"
