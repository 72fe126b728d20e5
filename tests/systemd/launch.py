"""``python launch.py FD[,FD...] NAMES ARGV...``: what systemd does between fork and exec. Descriptors become 3 and up,
``LISTEN_*`` is set for this process, memory cannot become executable, and the limits of the unit hold."""

from __future__ import annotations

import ctypes
import os
import resource
import sys

PR_SET_MDWE, REFUSE_EXEC_GAIN = 65, 1


def main() -> None:
    given, names, *argv = sys.argv[1:]
    # out of the way first: a descriptor may stand where another one has to go
    high = [os.dup(int(fd)) for fd in given.split(",") if fd]
    while high and min(high) < 3 + len(high):
        high = [os.dup(fd) for fd in high]
    for number, fd in enumerate(high):
        os.dup2(fd, 3 + number, inheritable=True)
    if high:
        os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(high)), LISTEN_FDNAMES=names)
    os.umask(0o077)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    # since Linux 6.3; an older one refuses it, and the test then shows everything but this
    ctypes.CDLL(None).prctl(PR_SET_MDWE, REFUSE_EXEC_GAIN, 0, 0, 0)
    os.execvp(argv[0], argv)


main()
