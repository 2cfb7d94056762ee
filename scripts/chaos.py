"""Break a federation of simulated parties for a while and count what it broke: JSON on stdout.

    python scripts/chaos.py --minutes 10 --seed 1              # every family, failpoint by failpoint
    python scripts/chaos.py --minutes 60 --families kill,single
    python scripts/chaos.py --families kill --strategy scaffold
    python scripts/chaos.py --replay kill:7:agent.seal.before:3

Families: kill (SIGKILL of both sides), single (one side crashes, the other lives on), eio (a failing
fsync), full (a full disk; root only), power (power cuts at every passage of one life). Of real
processes over TLS, only when named: real (SIGKILL at every failpoint), network (a minute of
partitions, resets, loss, delay and slow cables; root only), jumps (the machine's wall clock; needs a
C compiler), memory (the kernel kills; root only). Exit code 1 if a promise was broken; each finding
comes with the command that repeats it.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests/benches")]

from faults_bench import FSYNCS, MEMORY, Seed, can_mount, power_trials  # noqa: E402
from trials_bench import Trial  # noqa: E402

from edgeveil.shared.base.failpoints import Failpoint  # noqa: E402

# With SCAFFOLD the third round is the first whose devices have bent by variates of two rounds.
SETTINGS: dict[str, dict[str, Any]] = {
    "fedavg": {"strategy": "fedavg"},
    "scaffold": {"strategy": "scaffold", "rounds": 3},
}
FAMILIES = ("kill", "single", "eio", "full", "power", "real", "network", "jumps", "memory")
# Those that need real processes are scripts of their own; all of them print what they found as JSON.
SCRIPTS = {
    "real": ("real_crash_bench.py", "--seed"),
    "network": ("network_faults_bench.py", "--seed"),
    "jumps": ("clock_jumps_bench.py",),
    "memory": ("memory_bench.py",),
}


@dataclass
class Counts:
    """What happened so far."""

    seed: int
    seeds: int = 0
    trials: int = 0
    rounds: int = 0
    kills: int = 0
    slowest_restart_s: float = 0.0
    by_family: dict[str, int] = field(default_factory=dict)
    violations: list[dict[str, Any]] = field(default_factory=list)

    def add(self, family: str, found: Any, replay: str) -> None:
        self.trials += 1
        self.rounds += found.rounds
        self.kills += found.kills
        self.slowest_restart_s = max(self.slowest_restart_s, round(found.seconds_to_finish, 3))
        self.by_family[family] = self.by_family.get(family, 0) + 1
        if found.violations:
            command = f"python scripts/chaos.py --replay {replay}"
            self.violations.append({"broken": found.violations, "replay": command})


def main() -> int:
    options = _options()
    counts = Counts(options.seed)
    base = options.folder or (MEMORY if MEMORY.is_dir() else None)
    with tempfile.TemporaryDirectory(dir=base, prefix="edgeveil-chaos-") as name:
        folder = Path(name)
        if options.replay:
            _replay(options, folder, counts)
        else:
            _run(options, folder, counts)
    print(json.dumps(vars(counts), indent=2))
    return 1 if counts.violations else 0


def _run(options: argparse.Namespace, folder: Path, counts: Counts) -> None:
    families = [name for name in FAMILIES if name in options.families.split(",")]
    if "full" in families and not can_mount(folder):
        print("full: left out, needs root", file=sys.stderr)
        families.remove("full")
    points = options.points.split(",") if options.points else []
    if unknown := set(points) - set(Failpoint):
        raise SystemExit(f"no such failpoint: {', '.join(sorted(unknown))}")
    until = time.monotonic() + options.minutes * 60
    number = options.seed
    while time.monotonic() < until and counts.seeds < options.seeds:
        place = folder / str(number)
        seed = Seed(number, place, **SETTINGS[options.strategy])
        for family, found, replay in _trials(seed, families, points):
            counts.add(family, found, f"{replay} --strategy {seed.strategy}")
            if time.monotonic() >= until:
                return
        shutil.rmtree(place)
        counts.seeds += 1
        number += 1


def _trials(seed: Seed, families: list[str], points: list[str]) -> Iterator[tuple[str, Any, str]]:
    number = seed.number
    for family in families:
        if family == "power":
            for name, found in power_trials(seed):
                yield family, found, f"power:{number}:{name}"
            continue
        if family in SCRIPTS:
            yield family, _script(family, seed), f"{family}:{number}"
            continue
        for point in FSYNCS if family == "eio" else seed.passages:
            if points and point not in points:
                continue
            passage = seed.passage(point)
            yield family, seed.trial(family, point), f"{family}:{number}:{point}:{passage}"


def _script(family: str, seed: Seed) -> Any:
    """One campaign of real processes, whose figures go to stderr."""
    name, *option = SCRIPTS[family]
    command = [sys.executable, str(ROOT / "tests" / "benches" / name), *option]
    command += [str(seed.number)] * len(option)
    command += ["--strategy", seed.strategy] if family == "real" else []
    ran = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    if not ran.stdout:
        return Trial(violations=[ran.stderr[-2000:] or f"{name} ended with {ran.returncode}"])
    found = json.loads(ran.stdout)
    print(json.dumps({family: found}), file=sys.stderr)
    kills = found.get("kills", len(found.get("killed", ())))
    return Trial(kills, found["committed"], 0.0, found["violations"])


def _replay(options: argparse.Namespace, folder: Path, counts: Counts) -> None:
    text = options.replay
    family, number, *rest = text.split(":")
    seed = Seed(int(number), folder / number, **SETTINGS[options.strategy])
    if family in SCRIPTS:
        counts.add(family, _script(family, seed), text)
        return
    point, *passage = rest
    if family == "power":
        for name, found in power_trials(seed):
            if name == point:
                counts.add(family, found, text)
        return
    counts.add(family, seed.trial(family, point, int(passage[0])), text)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1, help="the first seed; the next ones follow")
    parser.add_argument("--seeds", type=int, default=1_000_000, help="stop after so many")
    parser.add_argument("--strategy", choices=SETTINGS, default="fedavg", help="of the plan")
    parser.add_argument("--families", default="kill,single,eio,full,power")
    parser.add_argument("--points", default="", help="only these failpoints, with commas")
    parser.add_argument("--folder", type=Path, help="where to work; default: in memory")
    parser.add_argument("--replay", help="FAMILY:SEED[:FAILPOINT:PASSAGE], as printed")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
