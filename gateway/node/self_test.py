"""The self-test of recipient verification: soon after the start and every hour, never in the way of mail.

Runs in the supervisor, once a node and not once a worker; it asks by RCPT only and hands nothing over. A mailstore that
accepts every address is no fault of the node, so it starts all the same, and says so loudly.

Known gaps: the answers are not shared by the nodes of a cluster; each asks for itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

from gateway.config import Settings
from gateway.delivery.recipients_probe import MEANING, Probe, Recipients, probe_route
from gateway.node.compose import router_for
from gateway.yamlfile import FaultsError

log = logging.getLogger("mxgw.node")

FIRST_SECONDS: Final = 2.0
EVERY_SECONDS: Final = 3600.0
AGAIN_SECONDS: Final = 60.0
"""Until the next try where a mailstore did not answer, such as one that starts together with the node."""


async def watch_recipients(settings: Settings, told: Sequence[Callable[[list[dict[str, Any]]], None]]) -> None:
    """Ask again and again until cancelled; told: who gets what /statusz shows."""
    await asyncio.sleep(FIRST_SECONDS)
    while True:
        pause = EVERY_SECONDS
        try:
            probes = await probe_all(settings)
        except (ValueError, OSError, FaultsError) as error:
            log.error("the self-test of recipients cannot run: %s", error, extra={"event": "recipients"})
        else:
            tell(probes)
            for listener in told:
                listener([as_json(probe) for probe in probes])
            if any(probe.result is Recipients.UNREACHABLE for probe in probes):
                pause = AGAIN_SECONDS
        await asyncio.sleep(pause)


async def probe_all(settings: Settings) -> list[Probe]:
    """Ask every mailstore of every route once, with connections of its own."""
    router = router_for(settings)
    try:
        found = await asyncio.gather(*(probe_route(route) for route in router.routes))
    finally:
        await router.close()
    return [probe for probes in found for probe in probes]


def tell(probes: Sequence[Probe]) -> None:
    """One log line for each mailstore that accepts every address."""
    for probe in probes:
        if probe.result is Recipients.ACCEPTS_ALL:
            log.warning(
                "%s %s",
                probe.mailstore,
                MEANING[probe.result],
                extra={"event": "recipients", "route": probe.route, "asked": probe.address, "reply": probe.detail},
            )


def as_json(probe: Probe) -> dict[str, Any]:
    """For /statusz."""
    return {
        "route": probe.route,
        "mailstore": probe.mailstore,
        "result": probe.result.value,
        "meaning": MEANING[probe.result],
        "detail": probe.detail,
    }
