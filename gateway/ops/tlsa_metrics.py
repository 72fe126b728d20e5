"""Whether the certificates in force fit the TLSA records that are published, by MX host name.

Known gaps: a name that is gone keeps its series until the node ends, as NaN.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.ops.catalogue import ALL


class TlsaMetrics:
    """``mxgw_tlsa_match{host}``: 1 a record fits, 0 none does, NaN: none is published, or DNS does not answer."""

    def __init__(self) -> None:
        self._match = ALL["tlsa_match"].make()
        self._known: set[str] = set()

    def seen(self, matches: Mapping[str, bool | None]) -> None:
        """host -> whether a record fits; None: nobody can say."""
        for gone in self._known - matches.keys():
            self._match.labels(gone).set(float("nan"))
        for host, fits in matches.items():
            self._match.labels(host).set(float("nan") if fits is None else float(fits))
        self._known |= matches.keys()
