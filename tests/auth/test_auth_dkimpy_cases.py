"""dkimpy's own test cases, as its source distribution carries them, with our verifier in the place of dkimpy's.

The cases sign with dkimpy; what they call ``dkim.verify``, ``DKIM.verify`` and ``dkim.arc_verify`` is answered by us, and
so are its canonicalisation functions. Each case that we answer otherwise stands in ``OTHERWISE`` with the reason.
"""

from __future__ import annotations

import importlib.util
import io
import sys
import time
import unittest
from pathlib import Path
from typing import Any

import dkim
import dkim.canonicalization
import pytest

from gateway.auth.arc_verify import read_chain, validate
from gateway.auth.canonical import body_digests, canonical_body, relaxed_field
from gateway.auth.dkim_verify import read_signatures, verify
from gateway.mail.finding import Outcome
from gateway.mail.message import Message
from tests.suites.suite_source import member

FILES = ("test_arc", "test_canonicalization", "test_dkim", "test_dkim_ed25519", "test_dkim_rsavariants", "test_dkim_tlsrpt")
DATA = (
    "1024_testkey.key", "1024_testkey_wo_markers.pub.rsa.txt", "1024_testkey_wo_markers.pub.txt", "2048_testkey.key",
    "2048_testkey_PKCS8.key", "2048_testkey_PKCS8.key.pub.txt", "2048_testkey_wo_markers.pub.rsa.txt",
    "2048_testkey_wo_markers.pub.txt", "badk.txt", "badversion.txt", "ed25519test.dns", "ed25519test.key", "ed25519test.msg",
    "ed25519test2.msg", "eximtest.dns", "message.mbox", "rfc6376.msg", "rfc6376.signed.msg", "rfc6376.signed.no_t.msg",
    "rfc6376.signed.rsa.msg", "rfc6376.w1258.msg", "rfc8032_7_1.key", "test.message", "test.message.baddomain",
    "test.private", "test.txt", "test2.message", "test2.private", "test2.txt", "test_bad.txt", "test_extra.message",
    "test_nofrom.message", "test_tlsrpt.txt",
)  # fmt: skip

_TLSRPT = "s=tlsrpt keys sign reports (RFC 8460 section 3), which mxgw does not read; for mail they are no keys"
OTHERWISE = {
    "test_dkim.TestSignAndVerify.test_l_verify": "text behind l= is unsigned: policy, and no pass",
    "test_dkim_tlsrpt.TestSignAndVerify.test_tlsrpt_with_strict_no_tlsrptsvc": _TLSRPT,
    "test_dkim_tlsrpt.TestSignAndVerify.test_tlsrpt_with_strict_tlsrptsvc": _TLSRPT,
    "test_dkim_tlsrpt.TestSignAndVerify.test_tlsrpt_with_tlsrptsvc": _TLSRPT,
}
"""Case -> why we answer otherwise."""


def judged(octets: bytes, dnsfunc: Any, index: int = 0, minkey: int = 1024) -> bool:
    """Would mxgw say pass? dkimpy takes LF for CRLF; mxgw refuses bare LF before any check, so it is mended here."""
    message = Message.parse(octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
    signatures = read_signatures(message)
    if len(signatures) <= index:
        return False
    signature = signatures[index]
    answer = () if signature.fault else _answer(dnsfunc, signature.key_name)
    digests = body_digests(message, {signature.want})
    found = verify(message, signature, answer, digests, now=time.time(), min_rsa_bits=minkey, partial_passes=False)
    return found.outcome is Outcome.PASS


def _answer(dnsfunc: Any, name: str) -> tuple[str, ...]:
    said = dnsfunc(name.encode() + b".", timeout=5)
    if not said:
        return ()
    # a TXT record cannot hold the line ends of the files
    return ((said.decode("latin-1") if isinstance(said, bytes) else said).replace("\n", ""),)


class Judge:
    """What the cases know as the module ``dkim``."""

    class DKIM(dkim.DKIM):
        def verify(self, idx: int = 0, dnsfunc: Any = None) -> bool:
            super().verify(idx, dnsfunc)  # the cases look at what it leaves behind
            headers = b"".join(name + b":" + value for name, value in self.headers)
            return judged(headers + b"\r\n" + self.body, dnsfunc, idx)

    def __getattr__(self, name: str) -> Any:
        return getattr(dkim, name)

    def verify(self, octets: bytes, dnsfunc: Any = None, minkey: int = 1024, **options: Any) -> bool:
        return judged(octets, dnsfunc, minkey=minkey)

    def arc_verify(self, octets: bytes, dnsfunc: Any = None, **options: Any) -> tuple[bytes, list[Any], str]:
        message = Message.parse(octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
        chain = read_chain(message, 50)
        assert chain is not None
        answers = {name: _answer(dnsfunc, name) for name in chain.key_names}
        digests = body_digests(message, {chain.newest.want} if chain.newest else set())
        found = validate(message, chain, answers, digests, now=time.time(), min_rsa_bits=1024)
        return found.outcome.value.encode(), [], found.reason


class Form:
    """dkimpy's two algorithms, ours inside."""

    def __init__(self, relaxed: bool) -> None:
        self.relaxed = relaxed

    def canonicalize_body(self, body: bytes) -> bytes:
        return b"".join(canonical_body([body], self.relaxed))

    def canonicalize_headers(self, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        if not self.relaxed:
            return headers
        fields = [relaxed_field(name + b":" + value) for name, value in headers]
        return [(name, value) for name, _, value in (field.partition(b":") for field in fields)]


@pytest.fixture
def cases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, unittest.TestCase]:
    """All cases by ``file.class.method``."""
    (tmp_path / "data").mkdir()
    for name in DATA:
        (tmp_path / "data" / name).write_bytes(member("dkimpy", f"dkim/tests/data/{name}"))
    found: dict[str, unittest.TestCase] = {}
    for name in FILES:
        file = tmp_path / f"dkimpy_{name}.py"
        file.write_bytes(member("dkimpy", f"dkim/tests/{name}.py"))
        spec = importlib.util.spec_from_file_location(file.stem, file)
        assert spec is not None
        assert spec.loader is not None
        module: Any = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, file.stem, module)
        spec.loader.exec_module(module)
        module.dkim = Judge()
        if name == "test_canonicalization":
            for kind in ("Headers", "Body"):
                for form, ours in (("Simple", Form(False)), ("Relaxed", Form(True))):
                    function = getattr(ours, f"canonicalize_{kind.lower()}")
                    getattr(module, f"Test{form}Algorithm{kind}").func = staticmethod(function)
        for case in _flat(unittest.defaultTestLoader.loadTestsFromModule(module)):
            found[f"{name}.{case.id().split('.', 1)[1]}"] = case
    return found


def _flat(suite: Any) -> list[unittest.TestCase]:
    return [suite] if isinstance(suite, unittest.TestCase) else [case for part in suite for case in _flat(part)]


def test_all_cases(cases: dict[str, unittest.TestCase], capsys: pytest.CaptureFixture[str]) -> None:
    said: dict[str, str] = {}
    for name, case in cases.items():
        result = unittest.TextTestRunner(stream=io.StringIO()).run(unittest.TestSuite([case]))
        trouble = [text for _, text in [*result.failures, *result.errors]]
        if trouble:
            said[name] = trouble[0]
    with capsys.disabled():
        print(f"\ndkimpy's own cases: {len(cases)}, {len(said)} answered otherwise ({len(OTHERWISE)} explained)")
    unexplained = {name: text for name, text in said.items() if name not in OTHERWISE}
    assert not unexplained, "\n".join(f"{name}\n{text}" for name, text in unexplained.items())
    assert said.keys() == OTHERWISE.keys(), "explained, but answered alike"
    assert len(cases) == 88
