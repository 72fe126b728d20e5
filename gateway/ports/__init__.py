"""What the middle needs from the world, as Protocols; one failure for all of them. No third-party import.

Known gaps: none.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.ports.clock import Clock
from gateway.ports.dns import Resolver
from gateway.ports.mailstore import RecipientDirectory
from gateway.ports.store import Store


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports that checks may use. Tests and ``mxgw explain`` put other adapters behind them."""

    dns: Resolver
    store: Store
    recipients: RecipientDirectory
    clock: Clock
