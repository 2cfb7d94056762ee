"""Mutation test of shared/secagg: change the code in one place at a time; some test must notice.

    nice -n 19 python scripts/mutate_secagg.py --minutes 25 --json mutation.json
    python scripts/mutate_secagg.py --folder FOLDER --show      # the survivors of that run as diffs

Works on a copy in FOLDER (default: a temporary one) with mutmut, which is in the `dev` extra. A run
that is cut by --minutes continues in the same folder. Exits with 1 when the score is below 90 %.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TESTS = ("secagg_bench.py", "protocol", "vectors", "unit/secagg")
LEAST = 0.90
# The simulator repeats what faster tests see; two tests compare files that a copy changes.
LEFT_OUT = ("protocol/sim.py", "protocol/test_secagg_simulator.py", "unit/secagg/test_secagg_readme.py")  # fmt: skip
DROPOUTS = "tests/protocol/test_secagg_dropouts.py::"
DESELECTED = (
    "tests/protocol/test_bad_vectors.py::test_the_files_are_what_the_script_writes",
    DROPOUTS + "test_every_pattern_of_losses_in_a_tiny_cohort",
    DROPOUTS + "test_every_set_of_agents_lost_at_one_stage",
    DROPOUTS + "test_every_pair_of_agents_lost_at_two_stages",
    DROPOUTS + "test_sampled_patterns_of_losses",
)
SETUP = f"""\
[mutmut]
source_paths=
    shared
only_mutate=
    shared/secagg/*
pytest_add_cli_args_test_selection=
    tests/unit/secagg
    tests/protocol
pytest_add_cli_args=
    {"".join(f"    --deselect={name}{chr(10)}" for name in DESELECTED).strip()}
also_copy=
    tests
    pytest.ini
"""
PYTEST = """\
[pytest]
addopts = --import-mode=importlib -m "not long" -p no:cacheprovider
pythonpath = . tests
markers =
    long: not part of this run
filterwarnings =
    ignore::DeprecationWarning
    ignore::UserWarning
"""


def prepare(folder: Path) -> None:
    """A project of its own: the packages under test and their tests."""
    shutil.copytree(
        ROOT / "shared", folder / "shared", ignore=shutil.ignore_patterns("__pycache__")
    )
    for name in TESTS:
        source, target = ROOT / "tests" / name, folder / "tests" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    for name in LEFT_OUT:
        (folder / "tests" / name).unlink()
    (folder / "setup.cfg").write_text(SETUP)
    (folder / "pytest.ini").write_text(PYTEST)


def mutmut(folder: Path, *words: str, seconds: float | None = None) -> str:
    """The output of one mutmut command; cut after `seconds`."""
    command = [sys.executable, "-m", "mutmut", *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    log = folder / "mutmut.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command, cwd=folder, stdout=output, stderr=subprocess.STDOUT, env=environment
        )
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.terminate()
            process.wait()
    return log.read_text(errors="replace")


def results(folder: Path) -> dict[str, str]:
    """Mutant → what became of it."""
    found = {}
    for line in mutmut(folder, "results", "--all", "true").splitlines():
        match = re.fullmatch(r"\s*(shared\.\S+): (.+)", line)
        if match:
            found[match[1]] = match[2]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--minutes", type=float, default=25.0)
    parser.add_argument("--folder", type=Path, help="where to work; an earlier run goes on there")
    parser.add_argument("--show", action="store_true", help="print every survivor as a diff")
    parser.add_argument("--json", type=Path, help="write the summary here as well")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="edgeveil-mutation-"))
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "setup.cfg").exists():
        prepare(folder)
    if not given.show:
        output = mutmut(folder, "run", "--max-children", "1", seconds=60 * given.minutes)
        print(output[-500:], file=sys.stderr)
    found = results(folder)
    survivors = sorted(name for name, state in found.items() if state == "survived")
    if given.show:
        for name in survivors:
            print(mutmut(folder, "show", name))
    counts = Counter(found.values())
    noticed = counts["killed"] + counts["timeout"] + counts["segfault"]
    judged = noticed + counts["survived"] + counts["suspicious"] + counts["no tests"]
    score = noticed / judged if judged else 0.0
    summary = {
        "mutants": len(found),
        "judged": judged,
        "states": dict(counts.most_common()),
        "score": round(score, 4),
        "survivors": survivors,
    }
    text = json.dumps(summary, indent=1)
    print(text)
    if given.json:
        given.json.write_text(text + "\n")
    print(f"kept in {folder}", file=sys.stderr)
    return 0 if score >= LEAST else 1


if __name__ == "__main__":
    raise SystemExit(main())
