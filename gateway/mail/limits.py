"""Every number of the wire, with its source. Settings may lower or raise some of them; these are the defaults.

Known gaps: limits of the checks (look-ups, list counts) stand with the checks' settings in the policy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MEBIBYTE: Final = 1024 * 1024

# RFC 5321 section 4.5.3.1
LOCAL_PART_OCTETS: Final = 64
DOMAIN_OCTETS: Final = 255
PATH_OCTETS: Final = 256
REPLY_LINE_OCTETS: Final = 512
COMMAND_OCTETS: Final = 2048
"""Section 4.5.3.1.4 asks for 512; SIZE, SMTPUTF8 and DSN parameters add to it, so one bound for all verbs."""
TEXT_LINE_OCTETS: Final = 65536
"""Section 4.5.3.1.6 says 1,000; real senders break it and signatures must survive, so we carry up to 64 KiB."""

# content
MESSAGE_OCTETS: Final = 50 * MEBIBYTE
SPOOL_IN_MEMORY_OCTETS: Final = MEBIBYTE
HEADER_OCTETS: Final = 512 * 1024
HEADER_FIELDS: Final = 2000
READ_CHUNK_OCTETS: Final = 65536
OFF_LOOP_OCTETS: Final = 256 * 1024
"""Work over more octets than this leaves the event loop for a thread."""
RECEIVED_FIELDS: Final = 50
"""Loop limit; RFC 5321 section 6.3 asks for at least 100 or other means; Postfix and Exchange use 50 and less."""

# a session
RECIPIENTS: Final = 100
ERRORS_SOFT: Final = 10
ERRORS_HARD: Final = 20
TRANSACTIONS_PER_SESSION: Final = 100
SESSIONS_PER_WORKER: Final = 1000
SESSIONS_PER_CLIENT: Final = 50

# seconds
GREETING_DELAY: Final = 0.0
COMMAND_TIMEOUT: Final = 300.0
DATA_IDLE_TIMEOUT: Final = 180.0
SESSION_TIMEOUT: Final = 3600.0
PROXY_HEADER_TIMEOUT: Final = 5.0
TLS_HANDSHAKE_TIMEOUT: Final = 30.0
ANSWER_BUDGET: Final = 50.0
"""From the final dot to our answer: balancers commonly cut at 60 s of silence."""
DRAIN_TIMEOUT: Final = 90.0

# towards the mailstore, seconds
MAILSTORE_CONNECT: Final = 5.0
MAILSTORE_COMMAND: Final = 15.0
MAILSTORE_DOT: Final = 45.0


@dataclass(frozen=True, slots=True)
class WireLimits:
    """The limits of the wire that settings may change; octets, counts and seconds as above."""

    message_octets: int = MESSAGE_OCTETS
    recipients: int = RECIPIENTS
    errors_soft: int = ERRORS_SOFT
    errors_hard: int = ERRORS_HARD
    transactions: int = TRANSACTIONS_PER_SESSION
    sessions: int = SESSIONS_PER_WORKER
    sessions_per_client: int = SESSIONS_PER_CLIENT
    command_timeout: float = COMMAND_TIMEOUT
    data_idle_timeout: float = DATA_IDLE_TIMEOUT
    session_timeout: float = SESSION_TIMEOUT
    proxy_header_timeout: float = PROXY_HEADER_TIMEOUT
    answer_budget: float = ANSWER_BUDGET
    drain_timeout: float = DRAIN_TIMEOUT
