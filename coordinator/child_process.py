"""Children of `coordinator serve` that cannot outlive it."""

import os
import sys

# Runs in the child before the program: it dies with the parent, and never starts without it. The
# parent death signal survives exec; SIGKILL, since uvicorn takes up to 30 s to follow a SIGTERM.
_GUARD = """
import ctypes, os, signal, sys
ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL, 0, 0, 0)
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.umask(0o077)
os.execv(sys.argv[2], sys.argv[2:])
"""


def guarded(*command: str) -> list[str]:
    """The command line that runs `command` (an absolute path first) so that it dies with us.

    Spawn it from the main thread: the kernel's signal fires when the starting thread ends.
    """
    return [sys.executable, "-I", "-S", "-c", _GUARD, str(os.getpid()), *command]
