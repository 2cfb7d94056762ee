"""What the commands that only look read: rounds, one round in full, two runs, the page of a run."""

import gc
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coordinator.commands import read_report
from coordinator.config import load_config
from coordinator.records import RoundRecord, Run
from coordinator.store import Store
from shared.errors import ConfigError
from shared.event_log import EventLine
from shared.event_search import newest, of_round
from shared.event_tail import Tail
from shared.files import write_atomic
from shared.pages.document import Language
from shared.progress import progress

if TYPE_CHECKING:
    from coordinator.reports.facts import RunFacts

POLL_S = 0.2


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


def two_reports(home: Path, first: str, second: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Without most of their rounds: what is compared are totals and the newest model."""
    return read_report(home, first, last=1), read_report(home, second, last=1)


def run_facts(home: Path, run_id: str | None, *, quiet: bool = True) -> "RunFacts":
    """Every finished attempt of a run, by default of the last. For a process that ends soon."""
    from coordinator.reports.facts import RunFacts  # noqa: PLC0415 - numpy only for figures

    load_config(home)
    with Store.open(home, read_only=True) as store:
        run = _run(store, home, run_id)
        known = sum(store.count_rounds(run.run_id).values())
        with progress("reading rounds", known, quiet=quiet) as step:
            records = store.rounds(run.run_id, step=step)
        told = store.told_budgets()
    gc.freeze()  # or what comes next spends most of its time on looking for garbage in the records
    return RunFacts(run, records, told)


def write_page(
    home: Path, run_id: str | None, target: Path, language: Language, *, quiet: bool = True
) -> str:
    """Write the report of a run, by default of the last, as one HTML file; the run's id."""
    from coordinator.reports.page import report_page  # noqa: PLC0415 - only for a page

    found = run_facts(home, run_id, quiet=quiet)
    page = report_page(found, language, made=time.time())
    try:
        write_atomic(target, page.encode())
    except OSError as error:
        raise ConfigError(f"{target}: cannot be written ({error.strerror})") from error
    return found.run.run_id


def follow_events(home: Path, run_id: str | None, *, last: int, go_on: bool) -> Iterator[EventLine]:
    """The newest events of the coordinator and of a run, by default the last; then new ones, for ever."""
    load_config(home)
    with Store.open(home, read_only=True) as store:
        run = store.run(run_id) if run_id is not None else store.last_run()
    paths = [home / "events.jsonl"]
    if run is not None:
        paths.append(home / "runs" / run.run_id / "events.jsonl")
    tails = {path: Tail(path, _size(path)) for path in paths}
    before = sorted((line for path in paths for line in newest(path, last)), key=lambda x: x.ts)
    yield from before[len(before) - min(last, len(before)) :]
    while go_on:
        fresh = sorted(
            (line for tail in tails.values() for line in tail.read()), key=lambda x: x.ts
        )
        yield from fresh
        for line in fresh:
            path = home / "runs" / line.run / "events.jsonl"
            if line.event in {"run.create", "run.resume"} and run_id is None and path not in tails:
                tails[path] = Tail(path)
        time.sleep(POLL_S)


def _run(store: Store, home: Path, run_id: str | None) -> Run:
    run = store.run(run_id) if run_id is not None else store.last_run()
    if run is None:
        raise ConfigError(f"{home}: no run yet; start one with: coordinator run plan.toml")
    return run


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
