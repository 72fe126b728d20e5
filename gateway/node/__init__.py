"""The node: the only place where adapters are put behind the ports. ``supervise`` is ``mxgw run``.

supervisor  binds the sockets, starts one worker per core, restarts what crashed, reloads, drains, serves the admin port
worker      one process with one event loop: sessions, checks, hand-overs
compose     from settings and policy to the services of a worker; also the ports of ``mxgw explain``
channel     what supervisor and worker tell each other
inherited   listening sockets that systemd passes; systemd: what it is told, and its watchdog

Known gaps: the settings file is read once; a change of it needs a restart.
"""

from __future__ import annotations

from gateway.config import Settings
from gateway.node.compose import live_ports, offline_ports, router_for

__all__ = ["live_ports", "offline_ports", "router_for", "supervise"]


def supervise(settings: Settings) -> int:
    """Run the node in the foreground until SIGTERM or SIGINT. Returns the exit code: 0 drained, 69 cannot listen."""
    from gateway.node.supervisor import run

    return run(settings)
