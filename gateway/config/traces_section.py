"""The settings of OpenTelemetry traces, which need the extra ``otel``.

Known gaps: headers of the collector, such as a token, come from the environment (OTEL_EXPORTER_OTLP_HEADERS) only.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator


def _endpoint(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an http:// or https:// URL such as http://127.0.0.1:4318/v1/traces")
    return text


class TracesSettings(BaseModel):
    """One trace a session, sent to a collector by OTLP over HTTP."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    endpoint: Annotated[str, AfterValidator(_endpoint)] = Field(
        "http://127.0.0.1:4318/v1/traces", description="the collector's URL, path included"
    )
    sample: float = Field(0.01, ge=0, le=1, description="share of sessions that are sent whatever became of them")
    slow: float = Field(
        10.0, gt=0, le=3600, description="seconds; longer sessions are sent too, and those with a fault of ours"
    )

    @model_validator(mode="after")
    def _installed(self) -> TracesSettings:
        try:
            found = find_spec("opentelemetry.sdk") and find_spec("opentelemetry.exporter.otlp.proto.http")
        except (ImportError, ValueError):
            found = None
        if not found:
            raise ValueError("needs packages that are not installed: pip install 'mxgw[otel]'")
        return self
