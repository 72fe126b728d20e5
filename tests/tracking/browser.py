"""Debian's chromium, headless, each run with an empty profile of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "real"))
from debian import need

DARK = "--blink-settings=preferredColorScheme=0"
LIGHT = "--blink-settings=preferredColorScheme=1"
_QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--hide-scrollbars"),
)


class Visit:
    """A run that has begun; several may run beside each other."""

    def __init__(self, url: str, *options: str) -> None:
        self._profile = tempfile.mkdtemp(prefix="mxgw-chromium-")
        words = [need("chromium"), *_QUIET, f"--user-data-dir={self._profile}", *options, url]
        self._process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def text(self) -> str:
        """Its output."""
        try:
            return self._process.communicate(timeout=90)[0].decode()
        finally:
            if self._process.poll() is None:
                self._process.kill()
            shutil.rmtree(self._profile, ignore_errors=True)


def dom(url: str, *options: str) -> Visit:
    """The document as it is after its scripts."""
    return Visit(url, "--dump-dom", *options)


class Shot:
    """A screenshot."""

    def __init__(self, url: str, file: Path, *options: str) -> None:
        self.file = file
        self._visit = Visit(url, f"--screenshot={file}", *options)

    def first_pixel(self) -> tuple[int, ...]:
        """Red, green, blue at the top left: no filter of PNG changes that one."""
        self._visit.text()
        octets = self.file.read_bytes()
        assert octets.startswith(b"\x89PNG")
        data, at = b"", 8
        while at < len(octets):
            size = int.from_bytes(octets[at : at + 4], "big")
            if octets[at + 4 : at + 8] == b"IDAT":
                data += octets[at + 8 : at + 8 + size]
            at += size + 12
        return tuple(zlib.decompressobj().decompress(data, 8)[1:4])
