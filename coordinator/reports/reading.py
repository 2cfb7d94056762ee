"""What a home holds of its runs, as the commands that only look and the reports read it."""

import gc
import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeveil.coordinator.plan.config import load_config
from edgeveil.coordinator.records.records import Outcome, RoundRecord, Run
from edgeveil.coordinator.store.store import Store
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.base.files import write_file
from edgeveil.shared.events.log import EventLine
from edgeveil.shared.events.search import of_round
from edgeveil.shared.pages.words import Language
from edgeveil.shared.scores.metric import Scoring
from edgeveil.shared.tasks import registry
from edgeveil.shared.terminal.progress import progress

MOST_HEADER = 1 << 20  # bytes

if TYPE_CHECKING:
    from edgeveil.coordinator.reports.facts import RunFacts


def read_report(home: Path, run_id: str | None, *, last: int | None = None) -> dict[str, Any]:
    """The report of one run, or of the last run; `last`: with the newest so many attempts alone."""
    from edgeveil.coordinator.reports.summary import build  # noqa: PLC0415

    load_config(home)
    with Store.open(home, read_only=True) as store:
        run = _run(store, home, run_id)
        records, folder = store.rounds(run.run_id, last=last), home / "runs" / run.run_id
        if not any(record.outcome is Outcome.COMMITTED for record in records):
            newest = store.last_committed(run.run_id)
            records = records if newest is None else [newest, *records]
        return build(run, records, folder, store.totals(run.run_id))


def both_models(home: Path, run_id: str) -> dict[str, str]:
    """The best model and the last: its figure, its round and its file; empty before the first.

    Which round is the best stands inside best.safetensors, so that a long history need not be read.
    """
    from edgeveil.coordinator.reports.facts import RunFacts  # noqa: PLC0415
    from edgeveil.coordinator.reports.standing import judging  # noqa: PLC0415

    folder, found = home / "runs" / run_id, {}
    with Store.open(home, read_only=True) as store:
        metric = judging(RunFacts(store.run(run_id), ()))
        last = store.last_committed(run_id)
        number = _round_inside(folder / "best.safetensors")
        best = store.rounds(run_id, number=number) if number is not None else []
    for name, record in (("best", best[-1] if best else None), ("last", last)):
        if record is not None:
            value = None if metric is None else record.metrics.get(metric.name)
            said = "" if metric is None else f"{metric.within} {metric.shown(value)}, "
            found[f"{name} model"] = f"{said}round {record.round}: {folder / name}.safetensors"
    return found


def _round_inside(model: Path) -> int | None:
    """The round in the metadata of a model's file; None where there is no such file."""
    try:
        with model.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            return int(json.loads(file.read(min(size, MOST_HEADER)))["__metadata__"]["round"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def find_rounds(
    home: Path, run_id: str | None, *, last: int | None, failed: bool
) -> tuple[list[RoundRecord], int]:
    """(records, how many there are in all)."""
    load_config(home)
    with Store.open(home, read_only=True) as store:
        if run_id is not None:
            store.run(run_id)  # an unknown run is an error, not an empty table
        counts = store.count_rounds(run_id)
        known = counts.get("aborted", 0) if failed else sum(counts.values())
        return store.rounds(run_id, last=last, failed=failed), known


def each_round(
    home: Path, run_id: str | None, *, last: int | None, failed: bool
) -> Iterator[RoundRecord]:
    """As find_rounds(), one after the other, so that a long history needs neither time nor memory first."""
    load_config(home)
    with Store.open(home, read_only=True) as store:
        if run_id is not None:
            store.run(run_id)
        yield from store.each_round(run_id, last=last, failed=failed)


def scorings(home: Path, run_id: str | None = None) -> dict[str, Scoring]:
    """What the figures of a run mean, or of every run, by run."""
    with Store.open(home, read_only=True) as store:
        runs = store.runs() if run_id is None else [store.run(run_id)]
    return {run.run_id: registry.scoring(json.loads(run.plan)["task"]["id"]) for run in runs}


def metric_names(found: Iterable[Scoring]) -> list[str]:
    """Of all these tasks, each once; of the installed ones when there is none."""
    known = list(found) or [spec.scoring for spec in registry.catalogue()]
    return list(dict.fromkeys(metric.name for scoring in known for metric in scoring.metrics))


def any_run(home: Path) -> bool:
    """Whether there was ever a run."""
    load_config(home)
    with Store.open(home, read_only=True) as store:
        return store.last_run() is not None


def one_round(home: Path, run_id: str, number: int) -> tuple[list[RoundRecord], list[EventLine]]:
    """Every attempt of one round, and what the run's event log still holds of it."""
    load_config(home)
    with Store.open(home, read_only=True) as store:
        run = _run(store, home, run_id)
        records = store.rounds(run.run_id, number=number)
    if not records:
        raise ConfigError(f"run {run.run_id} has no finished attempt of round {number}")
    path = home / "runs" / run.run_id / "events.jsonl"
    return records, list(of_round(path, number))


def run_facts(home: Path, run_id: str | None, *, quiet: bool = True) -> "RunFacts":
    """Every finished attempt of a run, by default of the last. For a process that ends soon."""
    from edgeveil.coordinator.reports.facts import RunFacts  # noqa: PLC0415 - numpy only for figures
    from edgeveil.coordinator.reports.pictures import galleries  # noqa: PLC0415

    load_config(home)
    with Store.open(home, read_only=True) as store:
        run = _run(store, home, run_id)
        known = sum(store.count_rounds(run.run_id).values())
        with progress("reading rounds", known, quiet=quiet) as step:
            records = store.rounds(run.run_id, step=step)
        told = store.told_budgets()
    gc.freeze()  # or what comes next spends most of its time on looking for garbage in the records
    return RunFacts(run, records, told, galleries(home / "runs" / run.run_id))


def write_page(
    home: Path, run_id: str | None, target: Path, language: Language, *, quiet: bool = True
) -> str:
    """Write the report of a run, by default of the last, as one HTML file; the run's id."""
    from edgeveil.coordinator.reports.page import report_page  # noqa: PLC0415

    found = run_facts(home, run_id, quiet=quiet)
    page = report_page(found, language, made=time.time())
    write_file(target, page.encode())
    return found.run.run_id


def _run(store: Store, home: Path, run_id: str | None) -> Run:
    run = store.run(run_id) if run_id is not None else store.last_run()
    if run is None:
        raise ConfigError(f"{home}: no run yet; start one with: coordinator run plan.toml")
    return run
