"""What the middle needs from the world, as Protocols; one failure for all of them. No third-party import.

Known gaps: none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.ports.blocks import Blocks, NoBlocks
from gateway.ports.clock import Clock
from gateway.ports.dns import Resolver
from gateway.ports.greylist import GreylistDesk, NoDesk
from gateway.ports.lists import ListDesk, NoLists
from gateway.ports.mailstore import RecipientDirectory
from gateway.ports.presence import Alone, Limiter, Presence
from gateway.ports.store import Store

_NO_DESK = NoDesk()


_NO_BLOCKS = NoBlocks()
_ALONE = Alone()
_NO_LISTS = NoLists()


def _nowhere(domain: str) -> bool:  # noqa: ARG001
    return False


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports that checks may use. Tests and ``mxgw explain`` put other adapters behind them. listed: whether the
    recipients of a domain stand in a list of our own; then nothing about them is kept in the store. live: whether a
    session with a domain's mailstore is open, so that asking costs a round trip only. greylist: the operator's
    desk."""

    dns: Resolver
    store: Store
    recipients: RecipientDirectory
    clock: Clock
    listed: Callable[[str], bool] = _nowhere
    live: Callable[[str], bool] = _nowhere
    blocks: Blocks = _NO_BLOCKS
    """Emergency blocks in force."""
    greylist: GreylistDesk = _NO_DESK
    lists: ListDesk = _NO_LISTS
    """How the block and allow lists are."""
    presence: Presence = _ALONE
    """The sessions of this process."""
    limiter: Limiter | None = None
    """What to count with while the store is out; None: nothing."""
