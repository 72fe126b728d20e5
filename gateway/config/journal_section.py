"""The settings of what a node keeps of its decisions: the short memory on the board, and recordings for replay.

Known gaps: none.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from gateway.config.relative import RelativePath


class DecisionSettings(BaseModel):
    """Decision records that the nodes share, for tracking and `mxgw policy diff --since`; sealed with `secret`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    lines: int = Field(
        2000, ge=0, le=100_000, description="lines of at most 16 KiB and 100 records that stay; 0: none are kept"
    )
    hours: float = Field(48.0, gt=0, le=8760, description="lines are forgotten after so long")
    flush: float = Field(
        120.0, ge=1, le=3600, description="seconds after which few records make a line; while somebody looks on, one"
    )


class JournalSettings(BaseModel):
    """Recordings for `mxgw replay`: facts of the client, envelope, all answers of DNS, store and mailstore."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: RelativePath = Field(description="JSON lines; when full it becomes FILE.1, in place of the one before")
    sample: float = Field(1.0, ge=0, le=1, description="the share of sessions to record")
    content: bool = Field(False, description="keep header and body too; without them a replay takes what was found")
    octets: int = Field(64 * 1024 * 1024, ge=64 * 1024, description="size of the file at which it counts as full")
