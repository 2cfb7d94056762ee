"""What a command shows where it stands on a terminal."""

import os
import pty
import subprocess


def shown_on_a_terminal(command, *, columns, streams=("stdin", "stdout", "stderr"), **environment):
    """All it writes to a terminal of that width; it must end with 0."""
    mine, theirs = pty.openpty()
    variables = os.environ | {"COLUMNS": str(columns), "TERM": "xterm-256color"} | environment
    process = subprocess.Popen(command, env=variables, **dict.fromkeys(streams, theirs))
    os.close(theirs)
    seen = b""
    try:
        while chunk := os.read(mine, 65536):
            seen += chunk
    except OSError:
        pass  # the other end was closed
    os.close(mine)
    assert process.wait() == 0, seen
    return seen.decode()
