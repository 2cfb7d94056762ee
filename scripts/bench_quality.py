"""How well each task learns, in one table: every figure with its seeds, gate, goal and the CPU time it took.

The work is done by the bench of each data set (scripts/bench_*.py), which says what its figures mean; this runs them
one after another, in one process, so that all of it can be measured by one command. A measure whose data are not
here is left out, and said. Settings stand in the benches and were chosen on validation data.
python scripts/bench_quality.py [--only NAME] [--seeds 3] [--spoken DIR] [--out FILE] [--list]
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

try:
    import bench_appliances
    import bench_commands
    import bench_fashion
    import bench_features
    import bench_forecasts
    import bench_pairs
    import bench_photos
    import bench_shuttle
    import bench_training
    import bench_wearables
    import shuttle
    from data import CACHE, obtain
    from data_sets import SETS, reader
    from federating import Clock

    from edgeveil.shared.base.errors import EdgeveilError
except ModuleNotFoundError as error:
    sys.exit(f'{error.name} is missing; run: pip install -e ".[dev]"')

WATCH = "seglearn/data/watch_dataset.npy"
BUDGET = 2 * 2 * 3600  # CPU seconds: two hours on two cores
PHOTOS = 200  # records of a device
Row = dict[str, float]


@dataclass(frozen=True)
class Figure:
    """`key` of what its measure gives, in `unit`; the mean over the seeds has to be at or beyond `gate`."""

    key: str
    about: str
    unit: str = "%"
    gate: float | None = None
    goal: float | None = None
    lower: bool = False  # is better

    def reached(self, value: float, least: float | None) -> bool:
        return least is None or (value <= least if self.lower else value >= least)


@dataclass(frozen=True)
class Measure:
    """`run` gives the figures of one seed by their keys."""

    name: str
    run: Callable[["Sources", int], Row]
    figures: tuple[Figure, ...]
    seeds: int | None = None  # where one is enough


class Sources:
    """What is measured on, read or made once, when it is first asked for."""

    def __init__(self, folder: Path, spoken: Path | None = None, pairs: int = 5) -> None:
        self._folder, self._spoken, self.pairs = folder, spoken, bench_wearables.PAIRS[:pairs]
        self._pictures: dict[str, Any] = {}

    def fashion(self, model: str) -> Any:
        if model not in self._pictures:
            self._pictures = {model: bench_fashion.records(model)}  # one at a time: they are large
        return self._pictures[model]

    @cached_property
    def watch(self) -> Any:
        path = self._folder / "watch.npy"
        path.write_bytes(reader(SETS["watch"], CACHE)(WATCH))
        return bench_wearables.watch(path)

    @cached_property
    def shuttle(self) -> Any:
        return shuttle.read(shuttle.CACHE)

    @cached_property
    def spoken(self) -> Path:
        if self._spoken is not None:
            return self._spoken
        script = Path(__file__).with_name("make_commands.py")
        made = self._folder / "spoken"
        subprocess.run([sys.executable, str(script), str(made)], check=True, stdout=sys.stderr)
        return made

    @cached_property
    def plaid(self) -> Path:
        obtain("plaid", self._folder / "plaid", CACHE)
        return self._folder / "plaid"

    @cached_property
    def pairs_of_senses(self) -> Any:
        return bench_pairs.records(self.spoken)

    def new_folder(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self._folder))


def percent(row: dict[str, Any], *keys: str) -> Row:
    return {key: 100 * float(row[key]) for key in keys or ("accuracy", "macro_f1")}


def fashion(model: str) -> Callable[[Sources, int], Row]:
    return lambda of, seed: percent(bench_fashion.run(model, of.fashion(model), 3.0, seed))


def mnist(_of: Sources, seed: int) -> Row:
    pieces = bench_features.deal("mnist", 400, seed)
    return percent(bench_features.train(pieces, "orientation", 400, 8.0))


def watch(variant: str, epsilon: float) -> Callable[[Sources, int], Row]:
    gate = next(each for each in bench_wearables.GATES[variant] if each.epsilon == epsilon)

    def run(of: Sources, _seed: int) -> Row:
        rows = [bench_wearables.run(variant, gate, pair, of.watch) for pair in of.pairs]
        found = {key: 100 * float(np.mean([row[key] for row in rows])) for key in ("accuracy", "macro_f1")}  # fmt: skip
        return found | {"worst_pair": 100 * min(row["accuracy"] for row in rows)}

    return run


def machine(task: str) -> Callable[[Sources, int], Row]:
    def run(of: Sources, seed: int) -> Row:
        values, states = of.shuttle
        rows = bench_shuttle.held_back(states)
        drawn = np.random.default_rng(99 + seed).permutation(rows)
        row = bench_shuttle.run(task, 3.0, (values[drawn], states[drawn]), {})
        wanted = ("roc_auc", "accuracy", "macro_f1", "majority")
        return {key: float(row[key]) for key in wanted if key in row}

    return run


def photos(data: str) -> Callable[[Sources, int], Row]:
    def run(_of: Sources, seed: int) -> Row:
        pieces = bench_photos.deal(data, PHOTOS, seed)
        found = bench_photos.run(pieces, records=PHOTOS, epsilon=3.0)
        reached = {name: 100 * each["accuracy"] for name, each in found.items()}
        best = max(reached["histograms_without_noise"], reached["histograms_private"])
        private = reached["private"]
        return {
            "accuracy": private,
            "lost": reached["same_head_without_noise"] - private,
            "above_histograms": private - best,
        }

    return run


def commands(variant: str, epsilon: float) -> Callable[[Sources, int], Row]:
    gate = next(each for each in bench_commands.GATES[variant] if each.epsilon == epsilon)

    def run(of: Sources, _seed: int) -> Row:
        options, devices, tests = bench_commands.prepared(of.spoken, variant)
        how = (epsilon, gate.learning_rate)
        row = bench_commands.run(options, devices, tests, how)
        return percent(row, "accuracy_quiet", "accuracy_noisy")

    return run


def appliances(epsilon: float) -> Callable[[Sources, int], Row]:
    def run(of: Sources, seed: int) -> Row:
        dealt = bench_appliances.deal(of.plaid, of.new_folder() / "dealt", seed)
        return percent(
            bench_appliances.run(dealt, epsilon, seed), "accuracy", "macro_f1", "majority"
        )

    return run


def senses(epsilon: float) -> Callable[[Sources, int], Row]:
    return lambda of, seed: percent(bench_pairs.run(*of.pairs_of_senses, epsilon, seed=seed))


def forecasts(epsilon: float) -> Callable[[Sources, int], Row]:
    def run(of: Sources, _seed: int) -> Row:
        rows = [bench_forecasts.run(of.watch, pair, epsilon, 10) for pair in of.pairs]
        keys = ("rmse", "persistence_rmse", "mean_rmse")
        return {key: float(np.mean([row[key] for row in rows])) for key in keys}

    return run


def step(model: str) -> Callable[[Sources, int], Row]:
    def run(_of: Sources, _seed: int) -> Row:
        case = next(each for each in bench_training.cases() if each.name == model)
        return {"ratio": float(bench_training.run(case, 7)["ratio"])}

    return run


def accuracy(gate: float | None = None, goal: float | None = None) -> tuple[Figure, ...]:
    return Figure("accuracy", "accuracy", gate=gate, goal=goal), Figure("macro_f1", "macro F1")


def of_photos() -> tuple[Figure, ...]:
    return (
        Figure("accuracy", "accuracy"),
        Figure("lost", "below the head without noise", "points", gate=6.0, lower=True),
        Figure("above_histograms", "above histograms of colours", "points", gate=0.0),
    )


def of_watch(gate: float | None = None, goal: float | None = None) -> tuple[Figure, ...]:
    return *accuracy(gate, goal), Figure("worst_pair", "accuracy on the hardest pair of wearers")


SPOKEN = (
    Figure("accuracy_quiet", "accuracy on unseen voices"),
    Figure("accuracy_noisy", "the same with noise"),
)
FORECAST = (
    Figure("rmse", "root mean squared error", "g", lower=True),
    Figure("persistence_rmse", "the same of saying that all stays", "g", lower=True),
    Figure("mean_rmse", "the same of saying the mean", "g", lower=True),
)
PLAID = (*accuracy(), Figure("majority", "share of the most frequent class"))


def cost(most: float, goal: float | None = None) -> tuple[Figure, ...]:
    return (Figure("ratio", "CPU of a private step", "times", gate=most, goal=goal, lower=True),)


MEASURES = (
    Measure("fashion-head-3", fashion("feature-head"), accuracy(87.5, 88.0)),
    Measure("fashion-cnn-3", fashion("cnn"), accuracy()),
    Measure("mnist-8", mnist, accuracy(92.0)),
    Measure("watch-8", watch("statistics", 8.0), of_watch(80.0, 84.0)),
    Measure("watch-3", watch("statistics", 3.0), of_watch(77.0, 81.0)),
    Measure("watch-1", watch("statistics", 1.0), of_watch(70.0, 75.0)),
    Measure("watch-cnn1d-8", watch("cnn1d", 8.0), of_watch()),
    Measure("watch-cnn1d-none", watch("cnn1d", 0.0), of_watch()),
    Measure("watch-lstm-8", watch("lstm", 8.0), of_watch(), seeds=1),
    Measure("watch-lstm-none", watch("lstm", 0.0), of_watch(), seeds=1),
    Measure("anomaly-3", machine("anomaly"), (Figure("roc_auc", "area under the ROC curve", "", 0.92),)),
    Measure(
        "states-3",
        machine("rare-classes"),
        (
            Figure("macro_f1", "macro F1", "", 0.48, 0.55),
            Figure("accuracy", "accuracy", ""),
            Figure("majority", "share of the most frequent state", ""),
        ),
    ),
    Measure("scenes-3", photos("scenes"), of_photos()),
    Measure("photos-3", photos("photos"), of_photos()),
    Measure("cells-3", photos("cells"), of_photos()),
    Measure("commands-none", commands("statistics", 0.0), (Figure("accuracy_quiet", "accuracy on unseen voices", gate=90.0), SPOKEN[1]), seeds=1),
    Measure("commands-8", commands("statistics", 8.0), SPOKEN),
    Measure("commands-cnn-none", commands("cnn", 0.0), SPOKEN, seeds=1),
    Measure("commands-cnn-8", commands("cnn", 8.0), SPOKEN, seeds=1),
    Measure("appliances-none", appliances(0.0), PLAID),
    Measure("appliances-8", appliances(8.0), PLAID),
    Measure("appliances-3", appliances(3.0), PLAID),
    Measure("senses-none", senses(0.0), accuracy()),
    Measure("senses-8", senses(8.0), accuracy()),
    Measure("forecast-none", forecasts(0.0), FORECAST, seeds=1),
    Measure("forecast-8", forecasts(8.0), FORECAST),
    Measure("forecast-3", forecasts(3.0), FORECAST),
    Measure("step-cnn", step("cnn"), cost(2.3), seeds=1),
    Measure("step-cnn1d", step("cnn1d"), cost(2.3), seeds=1),
    Measure("step-vae", step("vae"), cost(3.0, 2.3), seeds=1),
    Measure("step-lstm", step("LSTM"), cost(1.0), seeds=1),
)  # fmt: skip


def main(arguments: list[str] | None = None, measures: tuple[Measure, ...] = MEASURES) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    names = [each.name for each in measures]
    parser.add_argument("--only", action="append", choices=names, metavar="NAME")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=5, help="of wearers held out")
    parser.add_argument("--spoken", type=Path, help="a folder made by make_commands.py")
    parser.add_argument("--out", type=Path, help="also writes all of it there, as JSON")
    parser.add_argument("--list", action="store_true", help="what there is, and measure nothing")
    chosen = parser.parse_args(arguments)
    wanted = [each for each in measures if each.name in (chosen.only or names)]
    if chosen.list:
        for each in wanted:
            print(f"{each.name:18} {', '.join(figure.about for figure in each.figures)}")
        return 0
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        sources, found = Sources(Path(folder), chosen.spoken, chosen.pairs), []
        for at, each in enumerate(wanted, 1):
            print(f"{at} of {len(wanted)}: {each.name}", file=sys.stderr, flush=True)
            found.append(measured(each, sources, chosen.seeds))
            if chosen.out is not None:
                chosen.out.write_text(json.dumps(found, indent=2) + "\n")
    print("\n".join(table(found)))
    return 1 if any(row["left_out"] or not all(row["met"]) for row in found) else 0


def measured(measure: Measure, sources: Sources, seeds: int) -> dict[str, Any]:
    """All seeds of one measure, or why it was left out."""
    clock, rows, why = Clock(), [], ""
    try:
        for seed in range(1, min(seeds, measure.seeds or seeds) + 1):
            rows.append(measure.run(sources, seed))
            print(f"  seed {seed}: {_short(rows[-1])}", file=sys.stderr, flush=True)
    except EdgeveilError as error:
        why = error.message
    except (SystemExit, subprocess.CalledProcessError) as error:
        why = str(error)
    figures = [] if why else [_figure(each, rows) for each in measure.figures]
    return {
        "name": measure.name,
        "figures": figures,
        "met": [each["met"] for each in figures],
        "left_out": why,
        "load": round(os.getloadavg()[0], 1),
        **clock.read(),
    }


def _short(row: Row) -> str:
    return ", ".join(f"{key} {value:.4g}" for key, value in row.items())


def _figure(figure: Figure, rows: list[Row]) -> dict[str, Any]:
    values = [row[figure.key] for row in rows]
    mean = float(np.mean(values))
    return {
        "about": figure.about,
        "unit": figure.unit,
        "seeds": [round(value, 4) for value in values],
        "mean": round(mean, 4),
        "gate": figure.gate,
        "goal": figure.goal,
        "met": figure.reached(mean, figure.gate),
        "goal_met": figure.reached(mean, figure.goal),
    }


def table(found: list[dict[str, Any]]) -> Iterator[str]:
    yield f"{'measure':18} {'figure':40} {'mean':>14}  {'gate':14} {'goal':14} seeds"
    for row in found:
        if row["left_out"]:
            yield f"{row['name']:18} left out: {row['left_out']}"
        for each in row["figures"]:
            seeds = " ".join(f"{value:.4g}" for value in each["seeds"])
            shown = f"{each['mean']:.4g} {each['unit']}"
            gate, goal = _bar(each["gate"], each["met"]), _bar(each["goal"], each["goal_met"])
            yield f"{row['name']:18} {each['about']:40} {shown:>14}  {gate:14} {goal:14} {seeds}"
        yield f"{'':18} {row['cpu_seconds']:g} s of CPU in {row['seconds']:g} s, load {row['load']:g}"
    spent = sum(row["cpu_seconds"] for row in found)
    yield f"all of it: {spent:.0f} s of CPU (goal: at most {BUDGET:,})"


def _bar(bar: float | None, met: bool) -> str:
    return "" if bar is None else f"{bar:g} {'met' if met else 'MISSED'}"


if __name__ == "__main__":
    sys.exit(main())
