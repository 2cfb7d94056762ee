"""Wheels as `python -m build` makes them, and commands far from the checkout that run what they brought."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
QUIET = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")


def call(*command, cwd, code=0):
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "EDGEVEIL"))}  # fmt: skip
    found = subprocess.run([*map(str, command)], cwd=cwd, env=clean, capture_output=True, text=True, check=False)  # fmt: skip
    assert found.returncode == code, f"{command} gave {found.returncode}: {found.stdout}{found.stderr}"  # fmt: skip
    return found


def build(out, what):
    """What `python -m build` makes of the tracked files in a fresh folder."""
    source = out / "source"
    for line in subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")[:-1]:  # fmt: skip
        target = source / line
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / line).is_symlink():
            target.symlink_to((ROOT / line).readlink())
        else:
            target.write_bytes((ROOT / line).read_bytes())
    made = subprocess.run(
        [sys.executable, "-m", "build", what, "--no-isolation", "--outdir", str(out), str(source)],
        env=os.environ | {"SOURCE_DATE_EPOCH": "1700000000"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stdout + made.stderr
    return next(path for path in out.iterdir() if path.is_file())
