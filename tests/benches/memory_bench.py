"""Out of memory, for real: the kernel kills what takes most in a memory group that has become too small.

    python tests/benches/memory_bench.py

Coordinator (with its SuperLink) and one agent each live in a memory group of their own (cgroup v1 or
v2; root only). Whoever is killed is started again, as a supervisor would; then two more rounds have to
be committed, and nothing may be lost, doubled or wrong. Prints JSON.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/benches")]

from real_crash_bench import Bench, orphans  # noqa: E402

ROOTS = {
    Path("/sys/fs/cgroup/memory"): "memory.limit_in_bytes memory.usage_in_bytes",
    Path("/sys/fs/cgroup"): "memory.max memory.current",
}
UNLIMITED, MARGIN = 1 << 40, 4 << 20  # bytes
VICTIMS = ("agent-0", "superlink", "coordinator", "agent-0", "coordinator", "superlink")
DEATH_S, MOST_S = 30.0, 90.0
BALLOON = "import time\nx = [bytearray(b'1') * (1 << 20) for _ in range(256)]\ntime.sleep(60)"


class Group:
    """A memory group below the first hierarchy that has one."""

    def __init__(self, name):
        self.path, files = next(
            (root / f"edgeveil-{os.getpid()}-{name}", files) for root, files in ROOTS.items()
            if why_not(root) == ""
        )  # fmt: skip
        self.path.mkdir()
        self._limit, self._usage = (self.path / file for file in files.split())

    def enter(self):
        """For a process to call that is to live here; its children do too."""
        (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def limit(self, size):
        self._limit.write_text(str(size))

    @property
    def processes(self):
        return {int(pid) for pid in (self.path / "cgroup.procs").read_text().split()}

    def squeeze(self):
        """Make it too small until the kernel has killed one of its processes; whether it did."""
        before = self.processes
        self.limit(int(self._usage.read_text()) + MARGIN)
        balloon = self._balloon()
        until = time.monotonic() + DEATH_S
        while time.monotonic() < until and all(_alive(pid) for pid in before):
            if balloon.poll() is not None:  # it was the largest; another one makes it tighter
                balloon = self._balloon()
            time.sleep(0.05)
        balloon.kill()
        balloon.wait()
        self.limit(UNLIMITED)
        return not all(_alive(pid) for pid in before)

    def _balloon(self):
        enter = f'echo $$ > {self.path}/cgroup.procs && exec "$0" -S -c "$1"'
        return subprocess.Popen(["sh", "-c", enter, sys.executable, BALLOON])

    def remove(self):
        until = time.monotonic() + 5
        while self.processes and time.monotonic() < until:
            time.sleep(0.05)
        self.path.rmdir()


def why_not(root=None):
    """What is missing for memory groups, or ""."""
    if os.geteuid() != 0:
        return "needs root"
    if root is None:
        return min(map(why_not, ROOTS), key=len)
    probe = root / f"edgeveil-probe-{os.getpid()}"
    try:
        probe.mkdir()
    except OSError:
        return "needs memory groups (cgroup) that root may make"
    found = (probe / ROOTS[root].split()[0]).exists()
    probe.rmdir()
    return "" if found else "needs the memory controller of cgroup"


def _alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _prefer(bench, victim):
    """Tell the kernel whom to take; a former preference dies with its process."""
    pid = bench.pids.get(victim) or int((bench.home / "runtime" / "superlink.pid").read_text())
    Path(f"/proc/{pid}/oom_score_adj").write_text("1000")


def play(folder):
    groups = {name: Group(name) for name in ("agent-0", "coordinator")}
    bench = Bench(folder, 1, enter=lambda name: groups[name].enter() if name in groups else None)
    actions = {"coordinator": bench.serve, "agent-0": lambda: bench.work(0)}
    bench.start()
    found, deaths, took, stopped = [], [], [], {}
    try:
        if bench.await_rounds(2, MOST_S) is None:
            found.append("no round before memory became scarce")
        for victim in VICTIMS:
            name = "coordinator" if victim == "superlink" else victim
            _prefer(bench, victim)
            if not groups[name].squeeze():
                found.append(f"nothing of {name} was killed, so nothing was tested")
            time.sleep(0.5)
            gone = bench._ended(name)
            deaths.append(name if gone else "superlink")
            if gone:
                bench.fork(name, actions[name])
            took.append(bench.await_rounds(2, MOST_S))
            if took[-1] is None:
                found.append(f"no two rounds within {MOST_S:.0f} s of the death of {deaths[-1]}")
        if deaths != list(VICTIMS):
            found.append(f"killed were {deaths}")
    finally:
        stopped = bench.stop()
        for group in groups.values():
            group.remove()
    counts, broken = bench.verdict()
    left = [f"process {pid} was left" for pid in orphans(folder)]
    return {
        **counts, "killed": deaths, "two_rounds_after_s": took, "stopped": stopped,
        "violations": found + broken + left,
    }  # fmt: skip


def main():
    if reason := why_not():
        sys.exit(reason)
    with tempfile.TemporaryDirectory(prefix="edgeveil-memory-") as name:
        found = play(name)
        if found["violations"]:
            logs = (Path(name) / "federation" / "side").glob("*.log")
            found["logs"] = {path.name: path.read_text()[-3000:] for path in logs}
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
    return 1 if found["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
