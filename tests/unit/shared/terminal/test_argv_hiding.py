"""The token on the command line is not what `ps` shows."""

import subprocess
import sys

SECRET = "ev1.canary-7f3a"
CODE = """
import sys
from pathlib import Path
from edgeveil.shared.terminal.argv import hide_argument
hide_argument(sys.argv[1])
print(Path("/proc/self/cmdline").read_bytes().replace(b"\\0", b" ").decode())
print(sys.argv[1])
"""


def test_a_hidden_argument_is_gone_from_the_process_list_and_still_usable():
    found = subprocess.run(
        [sys.executable, "-c", CODE, SECRET, "next"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert SECRET not in "\n".join(found[:-1])
    assert "x" * len(SECRET) + " next" in found[-2]
    assert found[-1] == SECRET
