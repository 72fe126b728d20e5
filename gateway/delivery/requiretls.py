"""REQUIRETLS (RFC 8689): which mailstores keep the promise that a message travels on only over verified TLS.

A Maildir and an LMTP socket of this machine are the end of the journey. Any other mailstore keeps it when its TLS is
verified (``tls=verify`` or ``verify-ca``) and its last session offered the extension too. The node offers REQUIRETLS
only while all of its mailstores keep it: at EHLO nobody knows yet whose mail comes.

Known gaps: before the first session with a mailstore after the start it is not offered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from gateway.delivery.url import MailstoreUrl
from gateway.ports.mailstore import Handover, Mailstore, RecipientResult

if TYPE_CHECKING:
    from gateway.delivery.session import Session


@runtime_checkable
class Promising(Protocol):
    """A mailstore that knows whether it keeps the promise."""

    @property
    def keeps_requiretls(self) -> bool:
        """Now, as far as its last session told."""
        ...


def keeps(mailstore: Mailstore) -> bool:
    """Whether REQUIRETLS may be offered for mail to it."""
    return isinstance(mailstore, Promising) and mailstore.keeps_requiretls


def ends_here(url: MailstoreUrl) -> bool:
    """Whether the mail does not leave the machine."""
    return url.scheme in ("lmtp+unix", "maildir")


def session_keeps(session: Session) -> bool:
    """Whether a message that asks for it may go over this session."""
    url = session.dialect.url
    return url.tls.startswith("verify") and session.encrypted and session.offers("REQUIRETLS")


def mail_parameter(session: Session) -> bytes | RecipientResult:
    """What MAIL says to a mailstore, or why the message may not go there (RFC 8689 section 4.2.1)."""
    if ends_here(session.dialect.url):
        return b""
    if session_keeps(session):
        return b" REQUIRETLS"
    return RecipientResult(Handover.REFUSED, 550, "5.7.30", "The mailstore does not keep REQUIRETLS")
