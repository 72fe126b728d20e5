"""What a real name server says decides: SPF, DKIM, DMARC, a block list and reverse names."""

from __future__ import annotations

import re

from mail_world import GOOD, LISTED, NAMELESS, arrival, attempt, fields_above, message, poll

from tests.real.postfix import original


def unfolded(fields):
    return fields.replace(b"\r\n ", b" ").decode("ascii")


def delivered_fields(node, store, octets, **given):
    heard = attempt(node.smtp_port, octets, **given)
    assert heard.last[0] == 250, heard.last
    return unfolded(fields_above(original(arrival(store.messages, octets)), octets))


def results_of(fields):
    (line,) = [line for line in fields.split("\r\n") if line.startswith("Authentication-Results:")]
    return line


def test_a_signed_message_passes_everything(node, postfix_mailstore, dkim_key):
    fields = delivered_fields(node, postfix_mailstore, dkim_key.sign(message()))
    results = results_of(fields)
    assert results.startswith("Authentication-Results: mx.example.com;")
    assert "spf=pass smtp.mailfrom=ann@sender.example" in results
    assert re.search(r"dkim=pass [^;]*header\.d=sender\.example", results)
    assert re.search(r"dmarc=pass [^;]*header\.from=sender\.example", results)
    assert "iprev=pass" in results
    assert f"(client.sender.example [{GOOD}])" in fields
    assert "X-Gateway-Verdict: accept" in fields


def test_a_forwarded_message_passes_by_its_signature_alone(node, postfix_mailstore, dkim_key):
    fields = delivered_fields(node, postfix_mailstore, dkim_key.sign(message()), client=NAMELESS)
    assert "spf=fail" in results_of(fields)
    assert "dmarc=pass" in results_of(fields)
    # its PTR names a host that does not point back
    assert f"(unknown [{NAMELESS}])" in fields
    assert "iprev=fail" in results_of(fields)


def test_one_changed_octet_breaks_the_signature_and_the_policy_refuses(node, dkim_key):
    octets = dkim_key.sign(message()).replace(b"Hello.", b"Hello!")
    code, text = attempt(node.smtp_port, octets, client=NAMELESS).last
    assert (code, text[:5]) == (550, "5.7.1")


def test_a_spoofed_author_is_refused_with_an_id_that_the_record_knows(node, postfix_mailstore):
    heard = attempt(node.smtp_port, message("boss@bank.example"), client=NAMELESS)
    code, text = heard.end
    assert (code, text[:5]) == (550, "5.7.1")
    found = re.search(r"\[([^\]]+)\]$", text)
    assert found, text
    record = poll(lambda: [r for r in node.events("transaction") if r["qid"] == found[1]], "its record")[0]
    assert record["result"] == "rejected"
    assert record["dmarc"] == "fail"
    assert record["reason"] == "auth-policy"
    assert record["rules"][0]["id"] == "dmarc-reject"
    assert not [each for each in postfix_mailstore.messages() if b"boss@bank.example" in each]


def test_a_listed_client_is_refused_at_rcpt(node):
    heard = attempt(node.smtp_port, message(), client=LISTED)
    assert heard.end == (0, "")
    code, text = heard.rcpt[0]
    assert (code, text[:5]) == (554, "5.7.1")
    # the postmaster there has to know which address and which list; a key in a list's name is shown to nobody (tests/rbl)
    assert f"on the block list dnsbl.example (client {LISTED})" in text
    record = poll(lambda: [r for r in node.events("transaction") if r["client_ip"] == LISTED], "its record")[0]
    assert record["rbl"] == 5
    assert record["findings"]["dnsbl"]["evidence"]["listed"] == ["dnsbl.example"]
