"""Weaknesses of other implementations, shown on their installed functions, and what ours does instead."""

import subprocess
import sys
from pathlib import Path

import pytest

EVIDENCE = Path(__file__).resolve().parents[2] / "scripts/evidence"


@pytest.mark.parametrize("script", sorted(EVIDENCE.glob("*.py")), ids=lambda path: path.name)
def test_the_peer_is_weak_and_ours_withstands(script):
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = done.stdout.splitlines()
    assert row.startswith("| ")
    assert row.count("|") == 4
