"""The TLSA records of the keys at hand: those of the settings' certificates, and of the next key.

Reads files: not for the event loop.

Known gaps: MX hosts whose keys lie on other nodes only are not known here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.config import Settings
from gateway.outside.records import mx_hosts
from gateway.outside.tlsa import Tlsa, of_pem
from gateway.smtp.tls import default_pairs, pairs_for
from gateway.smtp.tls_pair import PemPair, read_pair


@dataclass(frozen=True, slots=True)
class OwnKeys:
    """current: MX host -> records of what this node serves for it; next_key: of the key to come, or None."""

    current: dict[str, tuple[Tlsa, ...]]
    next_key: Tlsa | None

    def wanted(self) -> dict[str, tuple[Tlsa, ...]]:
        """What should be published: host -> records."""
        more = (self.next_key,) if self.next_key else ()
        return {host: tuple(dict.fromkeys((*now, *more))) for host, now in self.current.items() if now}


def served_for(pairs: Sequence[PemPair], host: str) -> tuple[PemPair, ...]:
    """The certificates that a client hears which asks for this host."""
    return pairs_for(pairs, host) or default_pairs(pairs)


def own_keys(settings: Settings, next_key: Path | None = None) -> OwnKeys:
    """next_key: in place of the settings'. Raises ValueError for a file that cannot be used."""
    upcoming = _next(next_key or (settings.tls.next_key if settings.tls else None))
    if settings.tls is None:
        raise ValueError("the settings name no certificate (tls), so there is no key to publish")
    pairs = [read_pair(*files) for files in settings.tls.pairs]
    current = {}
    for host in dict.fromkeys(mx.host for mx in mx_hosts(settings)):
        ours = served_for(pairs, host) if host == settings.hostname else pairs_for(pairs, host)
        current[host] = tuple(of_pem(pair.certificate) for pair in ours)
    return OwnKeys(current, upcoming)


def _next(file: Path | None) -> Tlsa | None:
    if file is None:
        return None
    try:
        return of_pem(file.read_text(encoding="utf-8", errors="replace"))
    except OSError as error:
        raise ValueError(f"{file}: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"{file} {error}") from error
