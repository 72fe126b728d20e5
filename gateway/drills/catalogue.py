"""The drills: what the operator does to the cluster, and what has to hold meanwhile.

Known gaps: the faults themselves are made by the operator (or by ``--fault`` and ``--mend``), never by this program.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Extra(StrEnum):
    """What a drill asks for beside lost 0 and duplicated 0."""

    NONE = ""
    CUT = "cut"  # a session was cut in DATA
    CERTIFICATE = "certificate"  # another certificate was served in the end
    SAME_POLICY = "same-policy"  # no node's policy has changed


@dataclass(frozen=True, slots=True)
class Drill:
    """fault, mend: what the operator does ('' : nothing to mend). during: seconds of flow between the two, or after
    the fault. holds: sessions stand in DATA while the fault is made, with no final dot under way. serves: the cluster
    goes on serving under the fault, so recovery counts from the fault; else from its mending."""

    name: str
    title: str
    fault: str
    mend: str = ""
    during: float = 20.0
    holds: bool = False
    serves: bool = True
    extra: Extra = Extra.NONE


DRILLS = {
    drill.name: drill
    for drill in (
        Drill(
            "node-killed-in-data", "a node is killed while clients send content",
            "kill one node with SIGKILL, supervisor and workers: systemctl kill -s KILL mxgw",
            "start it again", holds=True, extra=Extra.CUT,
        ),
        Drill(
            "node-drained", "a node is taken out without anybody noticing",
            "mxgw cluster drain NODE --wait 60", "mxgw cluster undrain NODE",
        ),
        Drill(
            "primary-down", "the MX of the lowest preference is gone",
            "take the network from all nodes of the lowest preference, or stop them", "bring them back", holds=True,
        ),
        Drill(
            "all-down", "all nodes are down for five minutes",
            "stop all nodes", "start them all", during=300.0, holds=True, serves=False,
        ),
        Drill(
            "redis-failover", "Redis loses its primary",
            "kill the Redis primary with SIGKILL; Sentinel makes the replica the new one",
            "start the old primary again, as a replica", during=30.0,
        ),
        Drill(
            "mailstore-down", "the mailstore is down",
            "stop the mailstore of the drill's recipient", "start it", holds=True, serves=False,
        ),
        Drill(
            "resolver-dead", "the resolvers do not answer",
            "stop the resolvers that the nodes ask", "start them", serves=False,
        ),
        Drill(
            "certificate-swapped", "the certificate is renewed",
            "put a new certificate and key in the place of the old ones, on all nodes", during=60.0,
            extra=Extra.CERTIFICATE,
        ),
        Drill(
            "policy-fault", "somebody pushes a policy with a fault",
            "mxgw policy push a file that is wrong: an unknown key, or a case that fails", extra=Extra.SAME_POLICY,
        ),
        Drill(
            "clock-skew", "the clock of one node is an hour wrong",
            "set one node's clock an hour on (timedatectl set-ntp false; date -s '+1 hour')",
            "set it right (timedatectl set-ntp true)",
        ),
    )
}  # fmt: skip
"""By name."""
