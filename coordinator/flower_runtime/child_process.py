"""Children of `coordinator serve` that cannot outlive it, and the files all of them may open."""

import contextlib
import os
import resource
import sys

FILES = 65_536  # open sockets and files; a few thousand silent connections must not use them up

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


def raise_file_limit() -> None:
    """As many open files as we want and the administrator allows; many systems start at 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def guarded(*command: str) -> list[str]:
    """The command line that runs `command` (an absolute path first) so that it dies with us.

    Spawn it from the main thread: the kernel's signal fires when the starting thread ends.
    """
    return [sys.executable, "-I", "-S", "-c", _GUARD, str(os.getpid()), *command]
