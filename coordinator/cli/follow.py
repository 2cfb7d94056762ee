"""The event log as it grows: of one run until it ends, or of everything for ever."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from edgeveil.coordinator.plan.config import load_config
from edgeveil.coordinator.store.store import Store
from edgeveil.shared.events.log import Event, EventLine
from edgeveil.shared.events.search import newest
from edgeveil.shared.events.tail import Tail, size

POLL_S = 0.1
ENDS = (Event.RUN_FINISH, Event.RUN_FAIL, Event.RUN_STOP)


def tail(path: Path, start: int, alive: Callable[[], bool]) -> Iterator[EventLine]:
    """Events from byte `start` on, until the run ends; stops early when alive() turns false."""
    source, idle = Tail(path, start), 1
    running = True
    try:
        while True:
            if (
                idle % 10 == 0
            ):  # asked before reading, so that the last lines of a dead process are seen
                running = alive()
            lines = source.read()
            for line in lines:
                yield line
                if line.event in ENDS:
                    return
            if not running and not lines:
                return
            idle = 0 if lines else idle + 1
            if not lines:
                time.sleep(POLL_S)
    finally:
        source.close()


def follow_events(home: Path, run_id: str | None, *, last: int, go_on: bool) -> Iterator[EventLine]:
    """The newest events of the coordinator and of a run, by default the last; then new ones, for ever."""
    load_config(home)
    with Store.open(home, read_only=True) as store:
        run = store.run(run_id) if run_id is not None else store.last_run()
    paths = [home / "events.jsonl"]
    if run is not None:
        paths.append(home / "runs" / run.run_id / "events.jsonl")
    tails = {path: Tail(path, size(path)) for path in paths}
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
