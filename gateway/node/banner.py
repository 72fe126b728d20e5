"""What a person at a terminal sees when the node is ready: what runs where, and how to try it.

Known gaps: none.
"""

from __future__ import annotations

from gateway.config import Settings
from gateway.ops.health import NodeHealth


def banner(settings: Settings, health: NodeHealth, admin: str) -> list[str]:
    """Five lines of what runs where, and two commands that send a message."""
    listeners: dict[str, str] = health.identity["listeners"]
    place = next(iter(listeners.values()))
    host, _, port = place.rpartition(":")
    domain = next((d for route in settings.routes for d in route.domains if not d.startswith("*.")), "example.com")
    tls = "certificate of the settings" if settings.tls else "self-signed certificate"
    routes = "; ".join(f"{', '.join(route.domains)} -> {', '.join(route.mailstore)}" for route in settings.routes)
    store = settings.store.rpartition("@")[2] if "@" in settings.store else settings.store
    return [
        f"SMTP     {', '.join(listeners.values())}, STARTTLS with the {tls}, {len(health.workers)} workers",
        f"admin    http://{admin}/ with /readyz /metrics /statusz",
        f"routes   {routes}",
        f"policy   {health.policy_source}, {health.mode}, digest {health.policy_digest[:8]}",
        f"state    {settings.state_dir}, store {store}",
        f"try      swaks --server {host}:{port} --from alice@example.net --to bob@{domain} --tls-optional",
        f"or       mxgw send --server {host}:{port} --from alice@example.net --to bob@{domain}",
    ]
