"""A secret given on the command line, taken out of the process list."""

import contextlib
import ctypes
from pathlib import Path

_START, _END = 45, 46  # arg_start and arg_end, counted behind the command's name (proc(5))


def hide_argument(secret: str) -> None:
    """Overwrite `secret` in this process's own argument memory, where `ps` reads it (Linux).

    The moments before stay visible, and so does the shell's history.
    """
    with contextlib.suppress(OSError, ValueError, IndexError):
        stat = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        start, end = int(stat[_START]), int(stat[_END])
        if not 0 < start < end:
            return
        at = ctypes.string_at(start, end - start).find(secret.encode("utf-8"))
        if at >= 0:
            ctypes.memset(start + at, ord("x"), len(secret.encode("utf-8")))
