"""Weaknesses of other implementations, shown on their installed functions, and what ours does instead."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

EVIDENCE = Path(__file__).resolve().parents[2] / "scripts/evidence"
WITHOUT = {"one_scalar_mask.py": ("openfl", "pip install --no-deps openfl==1.9")}


@pytest.mark.parametrize("script", sorted(EVIDENCE.glob("*.py")), ids=lambda path: path.name)
def test_the_peer_is_weak_and_ours_withstands(script):
    peer, how = WITHOUT.get(script.name, (None, None))
    if peer and not importlib.util.find_spec(peer) and not os.environ.get("EDGEVEIL_NO_SKIP"):
        pytest.skip(how)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = done.stdout.splitlines()
    assert row.startswith("| ")
    assert row.count("|") == 4
