"""TLS is demanded by rules of the policy: from a network, from a domain, for a recipient; from nobody else."""

from __future__ import annotations

import smtplib
import ssl

import pytest
from node_process import NodeProcess

from gateway.policy.load import load_packaged

POLICY = """
version: 1
checks: {rate: {enabled: false}}
rules:
  - {id: tls-network, at: mail, when: {client: [127.0.0.2/32, "2001:db8::/32"], tls: false}, then: reject, reason: tls-required}
  - {id: tls-domain, at: mail, when: {reverse_path_domain: [bank.example, "*.bank.example"], tls: false}, then: reject,
     reason: tls-required}
  - {id: tls-helo, at: mail, when: {helo_name: "*.partner.example", tls: false}, then: reject, reason: tls-required}
  - {id: tls-recipient, at: rcpt, when: {recipient: "counsel@example.com", tls: false}, then: reject, reason: tls-required}
"""


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    started = NodeProcess(tmp_path_factory.mktemp("required") / "node", policy=POLICY)
    try:
        started.wait_ready()
        yield started
    finally:
        started.end()


def connect(node, source="127.0.0.1", hello="mail.example.net", tls=False):
    client = smtplib.SMTP("127.0.0.1", node.smtp_port, local_hostname=hello, timeout=60, source_address=(source, 0))
    client.ehlo()
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        assert client.starttls(context=context)[0] == 220
        client.ehlo()
    return client


CASES = [
    ("127.0.0.2", "mail.example.net", "a@example.net", "tls-network"),
    ("127.0.0.1", "mail.example.net", "a@bank.example", "tls-domain"),
    ("127.0.0.1", "mail.example.net", "a@branch.bank.example", "tls-domain"),
    ("127.0.0.1", "out.partner.example", "a@example.net", "tls-helo"),
]


@pytest.mark.parametrize(("source", "hello", "reverse_path", "rule"), CASES)
def test_mail_is_refused_in_the_clear_and_taken_over_tls(node, source, hello, reverse_path, rule):
    before = len(node.events("transaction"))
    with connect(node, source, hello) as client:
        code, text = client.mail(reverse_path)
        assert (code, text[:6]) == (530, b"5.7.0 "), text
        # the client may still do what it is told
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        assert client.starttls(context=context)[0] == 220
        client.ehlo()
        assert client.mail(reverse_path)[0] == 250

    def refused():
        return [record for record in node.events("transaction")[before:] if record["reason"] == "tls-required"]

    record = node.wait(refused, "the refusal is on record")[0]
    assert rule in str(record["rules"])
    assert record["reply"].startswith("530 5.7.0 ")


def test_a_recipient_may_be_one_for_tls_only(node):
    with connect(node) as client:
        assert client.mail("a@example.net")[0] == 250
        assert client.rcpt("user@example.com")[0] == 250
        code, text = client.rcpt("counsel@example.com")
        assert (code, text[:6]) == (530, b"5.7.0 "), text
    with connect(node, tls=True) as client:
        assert client.mail("a@example.net")[0] == 250
        assert client.rcpt("counsel@example.com")[0] == 250


@pytest.mark.parametrize("reverse_path", ["a@example.net", "a@notbank.example", ""])
def test_nobody_else_is_asked(node, reverse_path):
    with connect(node) as client:
        assert client.mail(reverse_path)[0] == 250
        assert client.rcpt("user@example.com")[0] == 250


@pytest.mark.parametrize("name", ["default", "strict", "observe"])
def test_no_policy_of_ours_demands_it(name):
    policy = load_packaged(name)
    assert not [
        rule
        for profile in (policy.default, *policy.profiles)
        for rule in profile.rules
        if rule.reason == "tls-required"
    ]
