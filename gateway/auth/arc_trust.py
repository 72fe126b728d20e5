"""What a trusted sealer vouches for (RFC 8617 section 7.2.1): did it see the author domain authenticated? Pure.

A chain that holds says only who handled the message. Its newest sealer, if we trust it, has written down what it found:
a ``dmarc=pass``, or without a dmarc result an aligned spf or dkim pass. Where it found neither but an ARC chain that
passed, the set before counts, if we trust that sealer too.

Known gaps: alignment inside the results is by subdomain, without a look at organisational domains.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from gateway.auth.arc_verify import Chain
from gateway.auth.author import plain
from gateway.mail.message import Message

MAX_OCTETS = 16384
"""Results that are longer vouch for nothing."""
_RESULT = re.compile(r"\s*([a-z0-9-]+)\s*(?:/\s*\d+\s*)?=\s*([a-z]+)\b")
_PROPERTY = re.compile(r"\b([a-z]+\.[a-z]+)\s*=\s*([^\s;]+)")
_ALIGNABLE = {"spf": ("smtp.mailfrom", "smtp.mfrom"), "dkim": ("header.d", "header.i")}


def vouches(message: Message, chain: Chain, listed: Collection[str], author_domain: str) -> bool:
    """Whether sealers in ``listed`` (lower case) say that ``author_domain`` was authenticated. The chain must pass."""
    for part in reversed(chain.sets):
        if not author_domain or part.seal.domain not in listed:
            return False
        results = tuple(_results(message.value(part.results)))
        methods = {method: word for method, word, _ in results}
        if "dmarc" not in methods:
            if any(
                _aligned(method, properties, author_domain) for method, word, properties in results if word == "pass"
            ):
                return True
        elif methods["dmarc"] == "pass":
            return all(_names(properties, author_domain) for method, _, properties in results if method == "dmarc")
        if methods.get("arc") != "pass":
            return False
    return False


def _results(value: bytes) -> Iterator[tuple[str, str, dict[str, str]]]:
    """(method, result word, properties) of each result; without comments, quoted values hidden."""
    if len(value) > MAX_OCTETS:
        return
    # i=1; authserv-id; then the results
    for part in plain(value.decode("utf-8", "replace")).lower().split(";")[2:]:
        if match := _RESULT.match(part):
            yield match[1], match[2], dict(_PROPERTY.findall(part, match.end()))


def _names(properties: dict[str, str], author_domain: str) -> bool:
    return properties.get("header.from", author_domain) == author_domain


def _aligned(method: str, properties: dict[str, str], author_domain: str) -> bool:
    for name in _ALIGNABLE.get(method, ()):
        domain = properties.get(name, "").rpartition("@")[2]
        if domain == author_domain or author_domain.endswith("." + domain) or domain.endswith("." + author_domain):
            return bool(domain)
    return False
