"""What a command shows where it stands on a terminal."""

import os
import pty
import subprocess


def shown_on_a_terminal(
    command,
    *,
    columns,
    streams=("stdin", "stdout", "stderr"),
    typed=b"",
    ends=0,
    **environment,
):
    """All it writes to a terminal of that width, where `typed` is typed ahead; it must end with that code."""
    mine, theirs = pty.openpty()
    variables = os.environ | {"COLUMNS": str(columns), "TERM": "xterm-256color"} | environment
    process = subprocess.Popen(command, env=variables, **dict.fromkeys(streams, theirs))
    os.close(theirs)
    os.write(mine, typed)
    seen = b""
    try:
        while chunk := os.read(mine, 65536):
            seen += chunk
    except OSError:
        pass  # the other end was closed
    os.close(mine)
    assert process.wait() == ends, seen
    return seen.decode()
