"""Authentication-Results (RFC 8601): write ours, find the inbound fields that pretend to be ours.

Every value that comes from outside is a token or a quoted-string without controls, so nothing a stranger chose can end
the field, begin a result or open a comment.

Known gaps: inbound ARC-Authentication-Results are left alone (ARC's own signature covers them); internationalised
reverse-paths (RFC 8616) are written as UTF-8 only in SMTPUTF8 transactions, else with ``?``.
"""

from __future__ import annotations

import re
from email.errors import HeaderParseError
from email.header import decode_header

import idna

from gateway.mail.address import NULL
from gateway.mail.disposition import disposition
from gateway.mail.finding import DkimFinding, DkimSignature, Finding, Outcome
from gateway.mail.message import HeaderField, Message
from gateway.mail.trace import folded, host_text, quoted
from gateway.mail.transaction import Transaction
from gateway.mail.verdict import Verdict

# RFC 2045 tokens less what simple readers trip over (quotes, percent signs); all else is quoted
_TOKEN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,299}")
_MAILBOX = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}@[A-Za-z0-9][A-Za-z0-9.-]{0,254}")
MAX_READ, MAX_READ_OCTETS = 100, 64 * 1024
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")
_DKIM_WORDS = frozenset(Outcome) - {Outcome.SOFTFAIL}
_DMARC_WORDS = frozenset({Outcome.NONE, Outcome.PASS, Outcome.FAIL, Outcome.TEMPERROR, Outcome.PERMERROR})
_IPREV_WORDS = frozenset({Outcome.PASS, Outcome.FAIL, Outcome.TEMPERROR, Outcome.PERMERROR})


def authentication_results(tx: Transaction, authserv_id: str, verdict: Verdict | None = None) -> bytes:
    """Our field for what the transaction's findings say, CRLF at its end; ``; none`` where nothing was checked. With a
    verdict the DMARC result says what became of the message."""
    utf8 = bool(tx.envelope and tx.envelope.smtputf8)
    results = [*_spf(tx, utf8), *_dkim(tx), *_dmarc(tx, verdict), *_arc(tx), *_iprev(tx)]
    if not results:
        return folded("Authentication-Results", [f"{authserv_id}; none"])
    words = [f"{authserv_id};"]
    for number, result in enumerate(results):
        last = number == len(results) - 1
        words += ["", *result[:-1], result[-1] + ("" if last else ";")]
    return folded("Authentication-Results", words)


def _value(text: str, utf8: bool = False) -> str:
    if _TOKEN.fullmatch(text) or _MAILBOX.fullmatch(text):
        return text
    return quoted(text, utf8)


def _result(method: str, outcome: Outcome, reason: str = "") -> list[str]:
    words = [f"{method}={outcome.value}"]
    if reason and outcome not in (Outcome.PASS, Outcome.NONE):
        words.append(f"reason={quoted(reason[:100])}")
    return words


def _spf(tx: Transaction, utf8: bool) -> list[list[str]]:
    spf = tx.findings.get("spf")
    if spf is None:
        return []
    reverse_path = tx.envelope.reverse_path if tx.envelope else NULL
    if reverse_path is NULL or spf.evidence.get("identity") == "helo":
        name = tx.hello.name if tx.hello else ""
        return [[*_result("spf", spf.outcome, spf.reason), f"smtp.helo={_value(host_text(name))}"]]
    results = [[*_result("spf", spf.outcome, spf.reason), f"smtp.mailfrom={_value(str(reverse_path), utf8)}"]]
    if domain := str(spf.evidence.get("helo_domain", "")):
        results.append([f"spf={Outcome(str(spf.evidence['helo_outcome'])).value}", f"smtp.helo={_value(domain)}"])
    return results


def _dkim(tx: Transaction) -> list[list[str]]:
    found = tx.findings.get("dkim")
    if found is None:
        return []
    signatures = found.signatures if isinstance(found, DkimFinding) else ()
    if not signatures:
        return [_result("dkim", _word(found, _DKIM_WORDS, Outcome.PERMERROR), found.reason)]
    return [_signature(signature) for signature in signatures]


def _signature(signature: DkimSignature) -> list[str]:
    outcome = signature.outcome if signature.outcome in _DKIM_WORDS else Outcome.FAIL
    words = _result("dkim", outcome, signature.reason)
    if 0 < signature.key_bits < 2048 and signature.algorithm.startswith("rsa"):
        # RFC 8301 section 3.2: signers should use 2,048; behind the result, where readers look for it
        words.insert(1, f"({signature.key_bits}-bit key)")
    properties = [
        ("header.d", signature.domain),
        ("header.s", signature.selector),
        ("header.a", signature.algorithm),
        ("header.b", signature.b_prefix[:16]),
    ]
    if _MAILBOX.fullmatch(signature.identity) or re.fullmatch(r"@[A-Za-z0-9][A-Za-z0-9.-]*", signature.identity):
        properties.append(("header.i", signature.identity[:300]))
    for name, text in properties:
        if text:
            shown = text if name == "header.i" else _value(text)
            words.append(f"{name}={shown}")
    return words


def _dmarc(tx: Transaction, verdict: Verdict | None) -> list[list[str]]:
    dmarc = tx.findings.get("dmarc")
    if dmarc is None:
        return []
    words = _result("dmarc", _word(dmarc, _DMARC_WORDS, Outcome.NONE), dmarc.reason)
    found = disposition(tx, verdict) if verdict else None
    if found:
        methods = dmarc.evidence.get("aligned", ())
        aligned = [method for method in ("spf", "dkim") if isinstance(methods, tuple) and method in methods]
        said = [f"{found.tag}={found.published}", "t=y" if dmarc.evidence.get("testing") is True else ""]
        said += [f"aligned={','.join(aligned) or 'none'}", f"dis={found.done}"]
        said += [f"override={found.override}" if found.override else ""]
        # the comment belongs right behind the result, where readers look for it; its words are all ours
        words.insert(1, f"({' '.join(word for word in said if word)})")
    if domain := str(dmarc.evidence.get("author_domain", "")):
        words.append(f"header.from={_value(domain)}")
    if found:
        words.append(f"policy.dmarc={found.policy}")
    return [words]


def _arc(tx: Transaction) -> list[list[str]]:
    arc = tx.findings.get("arc")
    # RFC 8617 section 4.4 knows no result for "could not find out"
    if arc is None or arc.outcome is Outcome.TEMPERROR:
        return []
    return [_result("arc", arc.outcome if arc.outcome in (Outcome.PASS, Outcome.NONE) else Outcome.FAIL, arc.reason)]


def _iprev(tx: Transaction) -> list[list[str]]:
    iprev = tx.findings.get("iprev")
    if iprev is None or not tx.connection.client_known:
        return []
    # RFC 8601 section 3: no reverse name at all is permerror
    words = _result("iprev", _word(iprev, _IPREV_WORDS, Outcome.PERMERROR), iprev.reason)
    ip = str(tx.connection.client_ip)
    return [[*words, f"policy.iprev={quoted(ip) if ':' in ip else ip}"]]


def _word(finding: Finding, words: frozenset[Outcome], otherwise: Outcome) -> Outcome:
    return finding.outcome if finding.outcome in words else otherwise


# ---- inbound fields that claim to be ours (RFC 8601 section 5)


def claims(message: Message, authserv_id: str, header_prefix: str = "X-Gateway-") -> tuple[HeaderField, ...]:
    """The fields to drop before ours go on top: each Authentication-Results of our authserv-id in any spelling (case,
    folding, comments, quotes, version, U-label), and each field whose name has our prefix. Of the results, so much is
    read as honest mail can have (``MAX_READ``, ``MAX_READ_OCTETS``); what is below goes unread."""
    ours, prefix = _comparable(authserv_id), header_prefix.lower()
    dropped, read, octets = [], 0, 0
    for item in message.fields:
        if prefix and item.name.startswith(prefix):
            dropped.append(item)
        elif item.name == "authentication-results":
            read, octets = read + 1, octets + item.end - item.start
            if read > MAX_READ or octets > MAX_READ_OCTETS or _claims(message.value(item), ours):
                dropped.append(item)
    return tuple(dropped)


def _claims(value: bytes, ours: str) -> bool:
    # what nobody sees separates nothing: some readers skip it
    text = _INVISIBLE.sub("", value.decode("utf-8", "replace"))
    said = _authserv_id(text)
    if said is None:
        # no reader agrees with the next on such a field: what only might be ours goes
        return ours in _comparable(text)
    return _comparable(said) == ours or _comparable(_decoded(said)) == ours


def _authserv_id(text: str) -> str | None:
    """The authserv-id, unquoted; None where comments or quotes are not closed."""
    position, depth = 0, 0
    while position < len(text):
        char = text[position]
        if char == "\\" and depth:
            position += 1
        elif char == "(":
            depth += 1
        elif char == ")" and depth:
            depth -= 1
        elif not depth and char > " ":
            break
        position += 1
    rest = text[position:]
    if depth:
        return None
    if rest.startswith('"'):
        match = re.match(r'"((?:[^"\\]|\\.)*)"', rest, re.DOTALL)
        return re.sub(r"\\(.)", r"\1", match[1], flags=re.DOTALL) if match else None
    return re.split(r"[\s;(]", rest, maxsplit=1)[0]


def _decoded(word: str) -> str:
    if not word.startswith("=?"):
        return word
    try:
        parts = decode_header(word)
        return "".join(p.decode(c or "ascii", "replace") if isinstance(p, bytes) else p for p, c in parts)
    except (HeaderParseError, LookupError, ValueError):
        return word


def _comparable(name: str) -> str:
    text = re.sub(r"[\x00-\x20\x7f]", "", _INVISIBLE.sub("", name)).rstrip(".").lower()
    if text.isascii() or len(text) > 255 or any(len(label) > 63 for label in text.split(".")):
        return text  # idna's time grows with the square of a label, even of one that cannot be
    try:
        return idna.encode(text, uts46=True).decode("ascii").lower()
    except (idna.IDNAError, UnicodeError):
        return text
