"""The ``limits`` section of the settings file; what each limit is for stands in ``gateway.mail.limits``.

Known gaps: a node's sessions are shared out to its workers evenly, so a node may refuse a little before its limit.
"""

from __future__ import annotations

from dataclasses import fields, replace

from pydantic import BaseModel, ConfigDict, Field

from gateway.mail import limits
from gateway.mail.limits import WireLimits


class LimitsSettings(BaseModel):
    """Limits of the wire; octets, counts and seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    message_octets: int = Field(
        limits.MESSAGE_OCTETS, ge=65536, le=1024**3, description="largest message, octets (SIZE)"
    )
    recipients: int = Field(
        limits.RECIPIENTS, ge=100, description="recipients a transaction (RFC 5321 section 4.5.3.1.8)"
    )
    errors_soft: int = Field(limits.ERRORS_SOFT, ge=1, description="errors a session before replies slow down")
    errors_hard: int = Field(limits.ERRORS_HARD, ge=1, description="errors a session before it is closed (421)")
    transactions: int = Field(limits.TRANSACTIONS_PER_SESSION, ge=1, description="messages a session")
    sessions: int = Field(limits.SESSIONS_PER_WORKER, ge=1, description="sessions a worker")
    sessions_per_client: int = Field(
        limits.SESSIONS_PER_CLIENT, ge=1, description="sessions of one client address a worker"
    )
    sessions_per_network: int = Field(
        limits.SESSIONS_PER_NETWORK, ge=1, description="sessions of one client network (/24, /64) a worker"
    )
    sessions_per_node: int = Field(
        limits.SESSIONS_PER_NODE, ge=0, description="sessions a node, shared evenly by its workers; 0: no such limit"
    )
    junk_commands: int = Field(limits.JUNK_COMMANDS, ge=1, description="unknown commands a session (the last: 421)")
    fruitless_commands: int = Field(
        limits.FRUITLESS_COMMANDS,
        ge=100,
        description="NOOP, RSET, HELP, VRFY, EXPN, EHLO, HELO, refused or repeated RCPT since MAIL (the next: 421)",
    )
    header_octets: int = Field(limits.HEADER_OCTETS, ge=65536, le=8 * 1024**2, description="largest header, octets")
    header_fields: int = Field(limits.HEADER_FIELDS, ge=100, le=20000, description="header fields a message")
    mime_depth: int = Field(limits.MIME_DEPTH, ge=5, le=1000, description="MIME parts inside MIME parts")
    mime_parts: int = Field(limits.MIME_PARTS, ge=100, le=100_000, description="MIME parts a message")
    data_rate: int = Field(
        limits.DATA_RATE, ge=0, description="least octets of content a second over `data_rate_window`; 0: no limit"
    )
    data_rate_window: float = Field(limits.DATA_RATE_WINDOW, ge=1, description="seconds over which the rate is seen")
    memory_percent: int = Field(
        limits.MEMORY_PERCENT,
        ge=0,
        le=100,
        description="used memory of the control group or machine above which new sessions get 421; 0: no limit",
    )
    memory_octets: int = Field(
        limits.MEMORY_OCTETS, ge=0, description="resident octets of a worker above which they get 421; 0: no limit"
    )
    command_timeout: float = Field(limits.COMMAND_TIMEOUT, gt=0, description="seconds of silence between commands")
    data_idle_timeout: float = Field(limits.DATA_IDLE_TIMEOUT, gt=0, description="seconds of silence inside content")
    session_timeout: float = Field(limits.SESSION_TIMEOUT, gt=0, description="seconds a session may last in all")
    proxy_header_timeout: float = Field(
        limits.PROXY_HEADER_TIMEOUT, gt=0, description="seconds for a balancer's PROXY header"
    )
    greeting_delay: float = Field(
        limits.GREETING_DELAY,
        ge=0,
        le=limits.TARPIT_SECONDS,
        description="seconds that an unknown client waits for the greeting, to find those that do not",
    )
    answer_budget: float = Field(limits.ANSWER_BUDGET, gt=1, description="seconds from the final dot to our reply")
    ledger_remember: float = Field(
        limits.LEDGER_REMEMBER,
        ge=0,
        description="seconds that a delivered message is remembered while the client may not have read our 250; 0: not",
    )
    drain_settle: float = Field(
        limits.DRAIN_SETTLE,
        ge=0,
        description="seconds between SIGTERM, when /readyz says 503, and the drain; so long new sessions are served",
    )
    drain_timeout: float = Field(
        limits.DRAIN_TIMEOUT, ge=0, description="seconds for open sessions when the node stops"
    )

    def wire(self, workers: int = 1) -> WireLimits:
        """The same numbers as a session of one of so many workers knows them."""
        wire = WireLimits(**{item.name: getattr(self, item.name) for item in fields(WireLimits)})
        if not self.sessions_per_node:
            return wire
        return replace(wire, sessions=min(wire.sessions, max(1, self.sessions_per_node // workers)))
