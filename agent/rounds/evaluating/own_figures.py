"""What this device's own held-out records say of a model, without noise: for its owner, on this device alone.

No message holds any of it, and no report that is made to be handed on (agent.reports.report).
"""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeveil.shared.base.files import write_atomic

FILE = "evaluation.json"  # beside the ledger of the data set
KEPT = 200  # newest evaluations
MOST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class OwnFigure:
    """One evaluation; `time` in Unix seconds, `metrics` by the names of the task."""

    run: str
    round: int
    time: int
    task: str
    records: int
    metrics: Mapping[str, float]


def keep(folder: Path, figure: OwnFigure) -> None:
    """A full disk loses it and nothing else."""
    values = [as_json(each) for each in [*read(folder), figure][-KEPT:]]
    with contextlib.suppress(OSError):
        write_atomic(folder / FILE, json.dumps(values).encode("ascii"))


def read(folder: Path) -> list[OwnFigure]:
    """Oldest first; a damaged file is no reason to stop."""
    try:
        data = (folder / FILE).read_bytes()
        return [OwnFigure(**each) for each in json.loads(data[:MOST_BYTES])]
    except (OSError, ValueError, TypeError):
        return []


def as_json(figure: OwnFigure) -> dict[str, Any]:
    """As JSON values."""
    return {
        "run": figure.run,
        "round": figure.round,
        "time": figure.time,
        "task": figure.task,
        "records": figure.records,
        "metrics": dict(figure.metrics),
    }
