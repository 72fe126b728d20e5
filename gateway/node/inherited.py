"""Listening sockets that a service manager has opened before the node started (sd_listen_fds(3)).

So port 25 needs no privilege of the node, and connections wait in the kernel's queue while it starts again.

Known gaps: Unix sockets and the admin port are not taken over.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.config.model import ListenerSettings
from gateway.smtp.listener import SEND_BUFFER_OCTETS

FIRST: Final = 3


class InheritedError(Exception):
    """What was passed does not fit the settings; the text says how."""


@dataclass(frozen=True, slots=True)
class Inherited:
    """One socket that was passed, and the name that it carries (``FileDescriptorName=``)."""

    name: str
    socket: socket.socket

    @property
    def place(self) -> tuple[str, int]:
        """Address and port that it is bound to."""
        host, port = self.socket.getsockname()[:2]
        return str(host), int(port)


def take(environ: MutableMapping[str, str], first: int = FIRST) -> list[Inherited]:
    """Takes ``LISTEN_*`` out of the environment; the sockets are no children's any more. Raises InheritedError for one
    that does not listen for TCP. first: number of the first descriptor."""
    pid, count, names = (environ.pop(key, "") for key in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"))
    if pid != str(os.getpid()) or not count.isdecimal():
        return []
    called = names.split(":") if names else []
    taken: list[Inherited] = []
    for number in range(int(count)):
        name = called[number] if number < len(called) else ""
        os.set_inheritable(first + number, False)
        try:
            sock = socket.socket(fileno=first + number)
        except OSError as error:
            raise InheritedError(f"descriptor {first + number} ({name}) is no socket") from error
        internet = sock.family in (socket.AF_INET, socket.AF_INET6) and sock.type == socket.SOCK_STREAM
        if not internet or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise InheritedError(f"the socket {name or first + number} does not listen for TCP connections")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_OCTETS)
        sock.setblocking(False)
        taken.append(Inherited(name, sock))
    return taken


def fitted(inherited: Sequence[Inherited], listeners: Sequence[ListenerSettings]) -> list[socket.socket | None]:
    """The socket of each listener, None for one that has to open its own.

    The one that is bound to the listener's address and port is its own; then the one that has its name; what is left
    over is given out in order. Raises InheritedError where there are more sockets than listeners: nobody would take
    what comes in there.
    """
    left = list(inherited)
    found: list[socket.socket | None] = [None] * len(listeners)
    rules = (
        lambda one, listener: one.place == (listener.host, listener.port),
        lambda one, listener: one.name != "" and one.name == listener.name,
        lambda _, __: True,
    )
    for fits in rules:
        for n, listener in enumerate(listeners):
            match = next((one for one in left if found[n] is None and fits(one, listener)), None)
            if match:
                found[n] = match.socket
                left.remove(match)
    if left:
        places = ", ".join("{} port {}".format(*one.place) for one in left)
        raise InheritedError(f"the service manager passes sockets that no listener of the settings takes: {places}")
    return found
