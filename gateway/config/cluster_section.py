"""How the node behaves as one of several: the ``cluster`` section of the settings.

Known gaps: none.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class ClusterSettings(BaseModel):
    """The node as one of several."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    require_policy: bool = Field(
        False,
        description="a node whose policy is not the cluster's is not ready and answers new sessions with 421; what is "
        "the cluster's: the pushed one, else what more than half of the nodes have",
    )
