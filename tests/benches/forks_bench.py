"""Forked processes of tests and benches that end when the process that forked them does, however it ends."""

import os
import signal
import threading
import time
from pathlib import Path

LOOK_S = 0.5


def end_with(parent):
    """In a forked process: SIGKILL for itself soon after `parent`, the process that forked it, is gone.

    A thread that looks, and not PR_SET_PDEATHSIG, which acts when the *thread* that forked ends, and
    benches fork in threads that do.
    """

    def look():
        while os.getppid() == parent:
            time.sleep(LOOK_S)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=look, name="parent", daemon=True).start()


def descendants(pid):
    """The process ids of everything `pid` started, directly or not, that lives."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if state != "Z":
            parents[int(path.parent.name)] = int(parent)
    found, near = set(), {pid}
    while near:
        near = {child for child, parent in parents.items() if parent in near}
        found |= near
    return found
