"""The wall clock of a whole machine jumps while rounds run: coordinator, SuperLink and agents alike.

    python tests/benches/clock_jumps_bench.py

Runs itself again with a small library before libc (tests/benches/wall_clock.c; needs a C compiler) that
shifts the wall clock and leaves the monotonic one alone. After every jump two more rounds have to be
committed, and in the end nothing may be lost, doubled or wrong. Prints JSON.
"""

import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/benches")]
SOURCE = Path(__file__).with_name("wall_clock.c")
from edgeveil.coordinator.flower_runtime.child_process import guarded  # noqa: E402

OFFSET = "EDGEVEIL_TEST_CLOCK"  # the file that holds the offset
HOURS = (1, -1, 12, -11, 0.01, -0.02)  # each from where the clock stands; never before the start
MOST_S = 90.0


def build(folder):
    """The library; raises FileNotFoundError without a C compiler."""
    made = Path(folder) / "wall_clock.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", made, SOURCE], check=True)
    return made


def jump(path, seconds):
    """All processes have the file mapped, so that they jump together."""
    with path.open("r+b") as file:
        file.write(struct.pack("=q", round(seconds * 1e9)))


def play(folder, offset):
    from real_crash_bench import Bench, orphans

    from edgeveil.coordinator.store.store import Store

    bench = Bench(folder, 1)
    bench.start()
    found, took, at = [], [], 0.0
    try:
        if bench.await_rounds(2, MOST_S) is None:
            found.append("no round before the first jump")
        for hours in HOURS:
            at += hours * 3600
            before = time.time()
            jump(offset, at)
            if abs(time.time() - before - hours * 3600) > 5:
                found.append(f"the clock did not jump by {hours} h")
            took.append(bench.await_rounds(2, MOST_S))
            if took[-1] is None:
                found.append(f"no two rounds within {MOST_S:.0f} s of a jump by {hours} h")
    finally:
        stopped = bench.stop()
    counts, broken = bench.verdict()
    with Store.open(bench.home, read_only=True) as store:
        rows = store.rounds(bench.run_id)
    return {
        **counts, "jumps_h": HOURS, "two_rounds_after_s": took, "stopped": stopped,
        "aborted": Counter(row.reason for row in rows if row.reason),
        "dropped": Counter(why for row in rows for why in row.dropped_reasons.values()),
        "longest_attempt_s": max(row.seconds for row in rows),
        "violations": found + broken + [f"process {pid} was left" for pid in orphans(folder)],
    }  # fmt: skip


def main():
    if OFFSET not in os.environ:
        if shutil.which("cc") is None:
            sys.exit("needs a C compiler")
        with tempfile.TemporaryDirectory(prefix="edgeveil-clock-") as name:
            offset = Path(name) / "offset"
            offset.write_bytes(bytes(8))
            shifted = {"LD_PRELOAD": str(build(name)), OFFSET: str(offset)}
            return subprocess.run(
                guarded(sys.executable, __file__), env=os.environ | shifted, check=False
            ).returncode
    offset = Path(os.environ[OFFSET])
    found = play(str(offset.parent), offset)
    if found["violations"]:
        logs = (offset.parent / "federation" / "side").glob("*.log")
        found["logs"] = {path.name: path.read_text()[-3000:] for path in logs}
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
    return 1 if found["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
