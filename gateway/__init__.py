"""mxgw: the inbound edge of e-mail.

One sentence: an inbound SMTP transaction is an immutable value that grows by findings; a pure policy turns it into a
verdict; the verdict turns into one reply; sockets, DNS, the shared store and the mailstore are ports at the walls.

Reading order
    mail/        the vocabulary: address, transaction, finding, reply, message, trace fields. Pure.
    checks/      what can be known. One file, one check, one async function; ``checks.CHECKS`` is the table.
    auth/        the algorithms behind SPF, DKIM, DMARC and ARC. Pure; libraries wrapped.
    policy/      what to do about it: rules over findings, decided at both ends of what is unknown. Pure.
    pipeline.py  one phase of one transaction: run the checks, decide. No SMTP, no sockets.
    ports/       what we need from the world, as Protocols, with one failure.
    adapters/    the world: one file per real thing.
    smtp/        the wall to the Internet.       delivery/   the wall to the mailstore.
    outside/     what to publish, and how the world sees us.
    drills/      a flow of marked messages while something breaks, and the account of it.
    evidence/    decision record, explain.       ops/        log, metrics, health.
    node.py      the only file that wires adapters to ports.     cli/   thin commands.

Import rule (enforced by tests/architecture):
    mail <- checks, auth, policy, ports <- pipeline, delivery, cluster <- smtp, evidence, cli
    adapters import ports and mail only; only node.py and tests import adapters.
    policy and auth import nothing that awaits.

Vocabulary: RFC 5321 (reverse-path, forward-path, RCPT, transaction, session), RFC 5598 (author, relay, mailstore),
RFC 8601 (authserv-id, the result words).
"""

__version__ = "0.1.0"
