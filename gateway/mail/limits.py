"""Every number of the wire, with its source. Settings may lower or raise some of them; these are the defaults.

:data:`WIRE_TABLE` says for each limit that a client can meet what it hears there; docs/limits.md is written from it.

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
MIME_DEPTH: Final = 100
"""Parts inside parts; what Postfix allows (mime_nesting_limit)."""
MIME_PARTS: Final = 10_000
MIME_DELIMITERS: Final = 500_000
"""Lines of a multipart message that begin as a delimiter does: each costs a look."""
DATA_RATE: Final = 500
"""Octets a second, seen over the window below. The slowest modem was faster; a slow-loris is not."""
DATA_RATE_WINDOW: Final = 30.0

# a session
RECIPIENTS: Final = 100
ERRORS_SOFT: Final = 10
ERRORS_HARD: Final = 20
TRANSACTIONS_PER_SESSION: Final = 100
SESSIONS_PER_WORKER: Final = 1000
SESSIONS_PER_NODE: Final = 0
"""0: as many as all workers take together."""
SESSIONS_PER_CLIENT: Final = 50
SESSIONS_PER_NETWORK: Final = 200
NETWORK_BITS: Final = {4: 24, 6: 64}
"""What one customer of a provider commonly has; by IP version."""
JUNK_COMMANDS: Final = 5
FRUITLESS_COMMANDS: Final = 300
"""NOOP, RSET, HELP, VRFY, EXPN, EHLO, HELO, refused or repeated RCPT: Postfix allows 100 of some of them, and here a
whole envelope of greylisted recipients must have room."""
MEMORY_PERCENT: Final = 95
"""Used memory of the control group (or the machine) above which no new session begins."""
MEMORY_OCTETS: Final = 0
"""The same for the resident memory of one worker; 0: no such limit."""

# seconds
GREETING_DELAY: Final = 1.0
TARPIT_SECONDS: Final = 20.0
TARPIT_SLOTS: Final = 200
COMMAND_TIMEOUT: Final = 300.0
COMMAND_TIMEOUT_CROWDED: Final = 10.0
"""A full worker ends the session that has been silent longest, and longer than this, for a newcomer."""
DATA_IDLE_TIMEOUT: Final = 180.0
SESSION_TIMEOUT: Final = 3600.0
PROXY_HEADER_TIMEOUT: Final = 5.0
TLS_HANDSHAKE_TIMEOUT: Final = 30.0
ANSWER_BUDGET: Final = 50.0
"""From the final dot to our answer: balancers commonly cut at 60 s of silence."""
DRAIN_SETTLE: Final = 0.0
"""Where something looks at /readyz, longer than it takes to notice."""
DRAIN_TIMEOUT: Final = 90.0
LEDGER_REMEMBER: Final = 86400.0
"""RFC 5321 section 4.5.4.1: a sender tries again after 30 minutes or more, and less often later."""

# towards the mailstore, seconds
MAILSTORE_CONNECT: Final = 5.0
MAILSTORE_COMMAND: Final = 15.0
MAILSTORE_DOT: Final = 45.0
MAILSTORE_DOT_LEAST: Final = 5.0
"""With less left for the reply to the final dot, the dot is not sent: a reply nobody waits for makes duplicates."""


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
    sessions_per_network: int = SESSIONS_PER_NETWORK
    sessions_per_node: int = SESSIONS_PER_NODE
    junk_commands: int = JUNK_COMMANDS
    fruitless_commands: int = FRUITLESS_COMMANDS
    header_octets: int = HEADER_OCTETS
    header_fields: int = HEADER_FIELDS
    mime_depth: int = MIME_DEPTH
    mime_parts: int = MIME_PARTS
    data_rate: int = DATA_RATE
    data_rate_window: float = DATA_RATE_WINDOW
    memory_percent: int = MEMORY_PERCENT
    memory_octets: int = MEMORY_OCTETS
    command_timeout: float = COMMAND_TIMEOUT
    data_idle_timeout: float = DATA_IDLE_TIMEOUT
    session_timeout: float = SESSION_TIMEOUT
    proxy_header_timeout: float = PROXY_HEADER_TIMEOUT
    greeting_delay: float = GREETING_DELAY
    answer_budget: float = ANSWER_BUDGET
    ledger_remember: float = LEDGER_REMEMBER
    drain_settle: float = DRAIN_SETTLE
    drain_timeout: float = DRAIN_TIMEOUT


@dataclass(frozen=True, slots=True)
class WireLimit:
    """One row of the page: what is limited, its default with the unit, the setting under ``limits`` ('' for a fixed
    one), what a client hears there (a reason of the reply table, or the protocol's answer in words) and why so much."""

    what: str
    value: float
    unit: str
    setting: str
    heard: str
    source: str


_ROWS: Final = """
command line with CRLF | COMMAND_OCTETS | octets | - | 500 5.5.2 | RFC 5321 4.5.3.1.4 asks for 512
text line with CRLF | TEXT_LINE_OCTETS | octets | - | line-too-long | RFC 5321 4.5.3.1.6 asks for 1,000
local part | LOCAL_PART_OCTETS | octets | - | 501 5.1.7 or 5.1.3 | RFC 5321 4.5.3.1.1
path with its brackets | PATH_OCTETS | octets | - | 501 5.1.7 or 5.1.3 | RFC 5321 4.5.3.1.3
domain | DOMAIN_OCTETS | octets | - | 501 5.1.7 or 5.1.3 | RFC 5321 4.5.3.1.2
recipients a transaction | RECIPIENTS | - | recipients | too-many-recipients | RFC 5321 4.5.3.1.8 asks for 100
errors before replies slow down | ERRORS_SOFT | - | errors_soft | the reply, a second later | as in Postfix
errors a session | ERRORS_HARD | - | errors_hard | too-many-errors | Postfix smtpd_hard_error_limit
unknown commands a session | JUNK_COMMANDS | - | junk_commands | 421 4.7.0 to the last | our own
fruitless commands since the last MAIL | FRUITLESS_COMMANDS | - | fruitless_commands | too-many-errors | Postfix: 100
transactions a session | TRANSACTIONS_PER_SESSION | - | transactions | too-many-transactions | our own
message | MESSAGE_OCTETS | octets | message_octets | too-big | RFC 1870; others take 25 to 150 MiB
header | HEADER_OCTETS | octets | header_octets | header-too-big | Postfix header_size_limit is 100 KiB a field
header lines that begin a field | HEADER_FIELDS | - | header_fields | header-too-big | our own
MIME depth | MIME_DEPTH | - | mime_depth | mime-too-complex | Postfix mime_nesting_limit
MIME parts | MIME_PARTS | - | mime_parts | mime-too-complex | our own
lines like a MIME delimiter | MIME_DELIMITERS | - | - | mime-too-complex | our own
Received fields | RECEIVED_FIELDS | - | - | loop | RFC 5321 6.3
silence between commands | COMMAND_TIMEOUT | s | command_timeout | timeout | RFC 5321 4.5.3.2.7
silence between commands when a worker is full | COMMAND_TIMEOUT_CROWDED | s | - | timeout | as in Postfix under stress
silence inside content | DATA_IDLE_TIMEOUT | s | data_idle_timeout | timeout | RFC 5321 4.5.3.2.5
a session in all | SESSION_TIMEOUT | s | session_timeout | timeout | our own
least rate of content | DATA_RATE | octets a second | data_rate | timeout | Postfix smtpd_min_data_rate
window of that rate | DATA_RATE_WINDOW | s | data_rate_window | timeout | our own
a PROXY header | PROXY_HEADER_TIMEOUT | s | proxy_header_timeout | proxy-protocol | proxy-protocol.txt 2: 3 s and more
the wait before the greeting | GREETING_DELAY | s | greeting_delay | the greeting | postscreen waits 6 s
waits of ours a session | TARPIT_SECONDS | s | - | the reply, without a wait | our own
clients of a worker that wait for us | TARPIT_SLOTS | - | - | the reply, without a wait | our own
a TLS handshake | TLS_HANDSHAKE_TIMEOUT | s | - | the connection is closed | our own
sessions of a client a worker | SESSIONS_PER_CLIENT | - | sessions_per_client | too-many-sessions-client | as in Postfix
sessions of a /24 or /64 a worker | SESSIONS_PER_NETWORK | - | sessions_per_network | too-many-sessions-client | our own
sessions a worker | SESSIONS_PER_WORKER | - | sessions | too-many-sessions | our own
sessions a node (0: what its workers take) | SESSIONS_PER_NODE | - | sessions_per_node | too-many-sessions | our own
used memory of the control group or the machine | MEMORY_PERCENT | % | memory_percent | memory-short | our own
resident memory of a worker (0: any) | MEMORY_OCTETS | octets | memory_octets | memory-short | our own
"""


def _wire_limit(row: str) -> WireLimit:
    what, constant, unit, setting, heard, source = ("" if cell == "-" else cell for cell in row.split(" | "))
    return WireLimit(what, globals()[constant], unit, setting, heard, source)


WIRE_TABLE: Final = tuple(_wire_limit(row) for row in _ROWS.strip().splitlines())
"""In the order of docs/limits.md."""
