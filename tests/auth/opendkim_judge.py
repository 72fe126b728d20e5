"""OpenDKIM's library (Debian package libopendkim11, which opendkim-tools brings) as a second judge, in a process of its own.

As a script: messages on standard input, each with four octets of length before it; a line of JSON for each on standard
output: a list of [domain, passed, error text], or the signature field. ``judge`` and ``sign_all`` run it.
"""

from __future__ import annotations

import ctypes
import json
import struct
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

LIBRARY = "libopendkim.so.11"
_PASSED, _CONTINUE, _NOT_FOUND, _RSA_SHA256 = 0x04, 0, 3, 1


def judge(messages: Iterable[bytes], keys: Mapping[str, str]) -> list[list[tuple[str, bool, str]]]:
    """For each message and signature: d=, whether it passed, OpenDKIM's words for why not. keys: name -> key record."""
    return [[tuple(one) for one in found] for found in _run("judge", messages, dict(keys))]  # type: ignore[misc]


def sign_all(messages: Iterable[tuple[bytes, str]], domain: str, selector: str, private_pem: bytes) -> list[bytes]:
    """The messages with OpenDKIM's signature on top; each comes with its canonicalisation (``simple/relaxed``)."""
    items = list(messages)
    forms = [form for _, form in items]
    fields = _run("sign", [octets for octets, _ in items], [domain, selector, private_pem.decode(), forms])
    return [field.encode("latin-1") + octets for field, (octets, _) in zip(fields, items, strict=True)]


def _run(mode: str, messages: Iterable[bytes], argument: object) -> list[Any]:
    frames = b"".join(struct.pack("!I", len(octets)) + octets for octets in [json.dumps(argument).encode(), *messages])
    done = subprocess.run([sys.executable, __file__, mode], input=frames, capture_output=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def installed() -> bool:
    """Is the library there?"""
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        return False
    return True


def _library() -> Any:
    lib = ctypes.CDLL(LIBRARY)
    lib.dkim_init.restype = lib.dkim_verify.restype = lib.dkim_sign.restype = ctypes.c_void_p
    lib.dkim_sig_getselector.restype = lib.dkim_sig_getdomain.restype = lib.dkim_sig_geterrorstr.restype = ctypes.c_char_p
    for name in ("dkim_sig_getselector", "dkim_sig_getdomain", "dkim_sig_geterror", "dkim_sig_getflags", "dkim_sig_getbh", "dkim_free"):
        getattr(lib, name).argtypes = [ctypes.c_void_p]
    lib.dkim_verify.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p]
    lib.dkim_sign.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p]
    lib.dkim_sign.argtypes += [ctypes.c_char_p, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_ssize_t, ctypes.c_void_p]
    lib.dkim_getsighdr.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_size_t]
    lib.dkim_chunk.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
    lib.dkim_eom.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    lib.dkim_getsiglist.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
    lib.dkim_set_key_lookup.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    return lib


def main() -> None:
    """Judge or sign what stands on standard input; the first frame is the argument."""
    frames = _frames()
    argument = json.loads(next(frames))
    lib = _library()
    handle = lib.dkim_init(None, None)
    if sys.argv[1] == "sign":
        domain, selector, key, forms = argument
        for octets, form in zip(frames, forms, strict=True):
            print(json.dumps(_signed(lib, handle, octets, form, domain.encode(), selector.encode(), key.encode())))
        return
    signature = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)

    def lookup(_dkim: int, sig: int, buffer: int, size: int) -> int:
        name = b"%s._domainkey.%s" % (lib.dkim_sig_getselector(sig), lib.dkim_sig_getdomain(sig))
        record = argument.get(name.decode("latin-1").lower())
        if record is None:
            return _NOT_FOUND
        octets = record.encode()[: size - 1] + b"\0"
        ctypes.memmove(buffer, octets, len(octets))
        return _CONTINUE

    callback = signature(lookup)
    lib.dkim_set_key_lookup(handle, ctypes.cast(callback, ctypes.c_void_p))
    for octets in frames:
        print(json.dumps(_judged(lib, handle, octets)))


def _frames() -> Iterator[bytes]:
    read = sys.stdin.buffer.read
    while len(head := read(4)) == 4:
        yield read(struct.unpack("!I", head)[0])


def _signed(lib: Any, handle: int, octets: bytes, form: str, domain: bytes, selector: bytes, key: bytes) -> str:
    status = ctypes.c_int()
    header_form, body_form = (int(word == "relaxed") for word in form.split("/"))
    dkim = lib.dkim_sign(
        handle, b"test", None, key, selector, domain, header_form, body_form, _RSA_SHA256, -1, ctypes.byref(status)
    )
    try:
        said = [lib.dkim_chunk(dkim, octets, len(octets)), lib.dkim_chunk(dkim, None, 0), lib.dkim_eom(dkim, None)]
        buffer = ctypes.create_string_buffer(65536)
        said.append(lib.dkim_getsighdr(dkim, buffer, len(buffer), len("DKIM-Signature: ")))
        # a message that OpenDKIM cannot sign stays as it is
        return "DKIM-Signature: " + buffer.value.decode("latin-1") + "\r\n" if not any(said) else ""
    finally:
        lib.dkim_free(dkim)


def _judged(lib: Any, handle: int, octets: bytes) -> list[tuple[str, bool, str]]:
    status = ctypes.c_int()
    dkim = lib.dkim_verify(handle, b"test", None, ctypes.byref(status))
    try:
        said = lib.dkim_chunk(dkim, octets, len(octets)) or lib.dkim_chunk(dkim, None, 0)
        ended = lib.dkim_eom(dkim, None)
        sigs, count = ctypes.POINTER(ctypes.c_void_p)(), ctypes.c_int()
        if lib.dkim_getsiglist(dkim, ctypes.byref(sigs), ctypes.byref(count)) or not count.value:
            return [("", False, f"status {said} {ended}")]
        found = []
        for n in range(count.value):
            sig = sigs[n]
            passed = bool(lib.dkim_sig_getflags(sig) & _PASSED) and lib.dkim_sig_getbh(sig) == 0
            error = lib.dkim_sig_geterrorstr(lib.dkim_sig_geterror(sig)) or b""
            domain = lib.dkim_sig_getdomain(sig) or b""
            text = error.decode() + ("" if lib.dkim_sig_getbh(sig) == 0 else "; body hash")
            found.append((domain.decode("latin-1"), passed, text))
        return found
    finally:
        lib.dkim_free(dkim)


if __name__ == "__main__":
    main()
