"""Nobody answers behind us: 4yz with the reason, never a 5yz, never a 250."""

from __future__ import annotations

from mail_world import attempt, message, poll, scripted_mailstore

from tests.real.postfix import free_port


def test_from_the_beginning(node_before):
    node = node_before(free_port())
    heard = attempt(node.smtp_port, message())
    assert heard.last[0] == 451, heard.last
    assert heard.last[1].startswith("4.4.1 "), heard.last
    record = poll(lambda: node.events("transaction"), "a record")[0]
    assert record["result"] == "deferred"


def test_after_it_had_confirmed_the_recipient(node_before):
    with scripted_mailstore() as mailstore:
        node = node_before(mailstore.port)
        assert attempt(node.smtp_port, message()).end[0] == 250
    heard = attempt(node.smtp_port, message())
    # a known recipient is believed; that the content has no place shows at the end of data
    assert heard.rcpt[0][0] == 250
    assert heard.end[0] == 451
    assert heard.end[1].startswith("4.4.1 "), heard.end
    record = poll(lambda: node.events("transaction")[1:], "a record")[0]
    assert record["result"] == "deferred"
    assert not record.get("maybe_delivered")
    # an unknown one cannot be verified
    code, text = attempt(node.smtp_port, message(), to=("other@example.com",)).last
    assert code == 451
    assert text.startswith("4.4.1 "), text


def test_the_second_one_of_the_list_takes_over(start_node):
    with scripted_mailstore() as mailstore:
        urls = [f"smtp://127.0.0.1:{free_port()}", f"smtp://127.0.0.1:{mailstore.port}"]
        node = start_node(settings={"workers": 1, "routes": [{"domains": ["example.com"], "mailstore": urls}]})
        assert attempt(node.smtp_port, message()).last[0] == 250
        assert len(mailstore.contents) == 1
