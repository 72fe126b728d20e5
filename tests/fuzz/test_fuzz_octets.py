"""Octets by hypothesis: seeds cut, joined and changed, then through each target. MXGW_FUZZ_EXAMPLES raises the number."""

from __future__ import annotations

import os

import pytest
from fuzz.make_seeds import SEEDS
from fuzz.targets import TARGETS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("MXGW_FUZZ_EXAMPLES", "150"))
ODD = [b"\0", b"\r", b"\n", b"\r\n", b".", b"\r\n.\r\n", b"|>", b"\xff", b'"', b"\\", b"<", b">", b"@", b";", b"=", b"(", b")", b":", b"\xc3\xbc", b" ", b"-", b"--", b"9" * 20]


def mutated(seeds: list[bytes]) -> st.SearchStrategy[bytes]:
    cut = st.builds(lambda seed, a, b: seed[min(a, b) : max(a, b) + 1], st.sampled_from(seeds), st.integers(0, 300), st.integers(0, 300))
    piece = st.one_of(st.sampled_from(seeds), cut, st.sampled_from(ODD), st.binary(max_size=20))
    return st.one_of(st.binary(max_size=200), st.lists(piece, max_size=8).map(b"".join))


@pytest.mark.parametrize("name", [name for name in TARGETS if name != "session"])
def test_parsers(name: str) -> None:
    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(mutated(SEEDS[name]))
    def run(octets: bytes) -> None:
        TARGETS[name](octets)

    run()


LINES = sorted({line for seed in SEEDS["session"] for line in seed[1:].split(b"\r\n")})


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from([b"\0", b"\1", b"\2", b"\4", b"\5"]),
    st.lists(st.one_of(st.sampled_from(LINES).map(lambda line: line + b"\r\n"), st.sampled_from(ODD), st.binary(max_size=10)), max_size=25),
)
def test_sessions(flags: bytes, pieces: list[bytes]) -> None:
    TARGETS["session"](flags + b"".join(pieces))
