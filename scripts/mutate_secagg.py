"""Mutation test of shared/secagg: change the code in one place at a time; some test must notice.

    python scripts/mutate_secagg.py --folder FOLDER --minutes 30 --json mutation.json
    python scripts/mutate_secagg.py --folder FOLDER --show       # the survivors of that run as diffs

mutmut writes the mutants; they are judged here, because its own runner collects the tests anew
for each. All tests are collected and timed once, then each mutant gets a fork that runs
the tests which reach its function, fastest first, until one fails. The order of mutants is shuffled
by --seed, so a run that --minutes cuts short has judged a fair sample; it goes on in the same FOLDER.
Exits with 1 when the score is below 90 %.
"""

import argparse
import difflib
import importlib
import json
import os
import random
import resource
import shutil
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from _pytest.runner import runtestprotocol

ROOT = Path(__file__).resolve().parents[1]
SOURCE = Path("edgeveil/shared")  # in the copy, where its parent is on the path
PARTS = (
    "tests/benches/secagg_bench.py",
    "tests/protocol",
    "tests/vectors",
    "tests/unit/shared/secagg",
)
# The simulator repeats what faster tests see; two tests compare files that the copy changes.
LEFT_OUT = ("protocol/test_secagg_simulator.py", "unit/shared/secagg/test_secagg_readme.py")
SLOW = (
    "test_the_files_are_what_the_script_writes",
    "test_every_p",  # the patterns of losses
    "test_every_set_of_agents",
    "test_sampled_patterns",
    "test_sparse_graphs_lose",
    "test_one_loss_is_survived",
    "test_an_honest_coordinator_stops",
    "test_emptied_windows",
)
LEAST = 0.90
KILLED, SURVIVED, TIMEOUT, UNTESTED = "killed", "survived", "timeout", "no test"


def prepare(folder: Path) -> None:
    """The packages and their tests in FOLDER, every module of secagg with all its mutants inside."""
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "shared", folder / SOURCE, ignore=ignore)
    for part in PARTS:
        target = folder / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, target, ignore=ignore)
        else:
            shutil.copy(ROOT / part, target)
    for name in LEFT_OUT:
        (folder / "tests" / name).unlink()
    (folder / "setup.cfg").write_text("[mutmut]\nsource_paths=edgeveil\n")
    os.chdir(folder)
    from mutmut.mutation.file_mutation import mutate_file_contents  # noqa: PLC0415

    names: dict[str, list[str]] = {}
    for path in sorted((SOURCE / "secagg").rglob("*.py")):
        made = mutate_file_contents(str(path), path.read_text())
        module = ".".join(path.with_suffix("").parts)
        names[module] = list(made.mutant_names)
        path.write_text(made.code)
    (folder / "mutants.json").write_text(json.dumps(names))


class Judge:
    """A pytest plugin in whose place of a test loop all mutants are judged."""

    def __init__(self, folder: Path, given: argparse.Namespace) -> None:
        self.log = folder / "judged.jsonl"
        self.names: dict[str, list[str]] = json.loads((folder / "mutants.json").read_text())
        self.given = given

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        reached = self._reach(session.items)
        # its tables are made at import, when no test runs yet, and anew before each mutant
        reached["edgeveil.shared.secagg.primitives.shamir.x__tables"] = reached[
            "edgeveil.shared.secagg.primitives.shamir.x_combine"
        ]
        known = {entry["mutant"] for entry in judged(self.log)}
        mutants = [f"{module}.{name}" for module, names in self.names.items() for name in names]
        random.Random(self.given.seed).shuffle(mutants)  # noqa: S311 - a sample, not a secret
        end = time.monotonic() + 60 * self.given.minutes
        with self.log.open("a") as log:
            for number, mutant in enumerate(mutants):
                if mutant in known or time.monotonic() > end:
                    continue
                tests = reached.get(mutant.rpartition("__mutmut_")[0], [])
                verdict = _judge(mutant, tests) if tests else UNTESTED
                print(json.dumps({"mutant": mutant, "verdict": verdict}), file=log, flush=True)
                if number % 100 == 0:
                    print(number, file=sys.stderr, flush=True)
        return True

    def _reach(self, items: list[pytest.Item]) -> dict[str, list[pytest.Item]]:
        """For each function the tests that call it, fastest first; the unchanged code must pass."""
        from mutmut.state import state  # noqa: PLC0415

        os.environ["MUTANT_UNDER_TEST"] = "stats"
        found: dict[str, list[tuple[float, int]]] = {}
        for place, item in enumerate(items):
            state()._stats.clear()  # noqa: SLF001 - where the trampolines record their calls
            started = time.process_time()
            if _fails(item):
                raise SystemExit(f"{item.nodeid} fails without any mutation")
            for function in state()._stats:  # noqa: SLF001
                found.setdefault(function, []).append((time.process_time() - started, place))
        return {name: [items[place] for _, place in sorted(of)] for name, of in found.items()}


def _fails(item: pytest.Item) -> bool:
    return any(report.failed for report in runtestprotocol(item, nextitem=None, log=False))


def _judge(mutant: str, tests: list[pytest.Item]) -> str:
    child = os.fork()
    if child == 0:
        code = 2
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (60, 65))
            os.environ["MUTANT_UNDER_TEST"] = mutant
            _forget_what_was_computed()
            code = 1 if any(_fails(test) for test in tests) else 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return TIMEOUT
    return SURVIVED if os.waitstatus_to_exitcode(status) == 0 else KILLED


def _forget_what_was_computed() -> None:
    """What the unchanged code left in a cache, or made at import, would hide what a mutant does."""
    for module in list(sys.modules.values()):
        if str(getattr(module, "__file__", None)).startswith(str(Path.cwd())):
            for value in vars(module).values():
                if hasattr(value, "cache_clear"):
                    value.cache_clear()
    shamir = sys.modules["edgeveil.shared.secagg.primitives.shamir"]
    shamir._EXP, shamir._LOG, shamir.PRODUCT = shamir._tables()  # type: ignore[attr-defined] # noqa: SLF001


def judged(log: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def show(folder: Path, mutants: list[str]) -> None:
    """Each mutant as the difference to the function it changes."""
    for mutant in mutants:
        module, _, name = mutant.rpartition(".")
        code = (folder / Path(*module.split("."))).with_suffix(".py").read_text()
        original = name.rpartition("__mutmut_")[0] + "__mutmut_orig"
        before, after = _function(code, original), _function(code, name)
        print(f"# {mutant}")
        print("\n".join(line for line in difflib.unified_diff(before, after, n=1, lineterm="")
                        if line[:3] not in {"---", "+++", "@@ "} and "__mutmut_" not in line))  # fmt: skip


def _function(code: str, name: str) -> list[str]:
    lines = code.splitlines()
    start = next(i for i, line in enumerate(lines) if line.lstrip().startswith(f"def {name}("))
    indent = len(lines[start]) - len(lines[start].lstrip())
    body = [lines[start]]
    for line in lines[start + 1 :]:
        if line.strip() and len(line) - len(line.lstrip()) <= indent and not line.lstrip().startswith(")"):  # fmt: skip
            break
        body.append(line)
    return body


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--folder", type=Path, required=True, help="an earlier run goes on there")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", action="store_true", help="print every survivor as a diff")
    parser.add_argument("--json", type=Path, help="write the summary here as well")
    given = parser.parse_args()
    folder = given.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "mutants.json").exists():
        prepare(folder)
    log = folder / "judged.jsonl"
    if not given.show:
        os.chdir(folder)
        sys.path[:0] = [str(folder), str(folder / "tests"), str(folder / "tests/benches")]
        importlib.invalidate_caches()
        chosen = ["--import-mode=importlib", "-q", "--tb=line", "--assert=plain", "-p", "no:cacheprovider", "-p", "no:timeout", "-W", "ignore",
                  "-m", "not long", "-o", "markers=long: not part of this run", "-k", " and ".join(f"not {name}" for name in SLOW), "tests"]  # fmt: skip
        pytest.main(chosen, plugins=[Judge(folder, given)])
    verdicts = judged(log)
    left = sorted(one["mutant"] for one in verdicts if one["verdict"] in {SURVIVED, UNTESTED})
    if given.show:
        show(folder, left)
    counts = Counter(one["verdict"] for one in verdicts)
    score = (counts[KILLED] + counts[TIMEOUT]) / max(1, len(verdicts))
    total = sum(map(len, json.loads((folder / "mutants.json").read_text()).values()))
    summary = {"mutants": total, "judged": len(verdicts), "verdicts": dict(counts.most_common()),
               "score": round(score, 4), "survivors": left}  # fmt: skip
    if given.json:
        given.json.write_text(json.dumps(summary, indent=1) + "\n")
    print({key: value for key, value in summary.items() if key != "survivors"})
    return 0 if score >= LEAST else 1


if __name__ == "__main__":
    raise SystemExit(main())
