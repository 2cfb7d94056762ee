"""What this device's own held-out records say of a model, without noise: for its owner, on this device alone.

No message holds any of it, and no report that is made to be handed on (agent.reports.report).
"""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
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
    """Of what does not fit the oldest goes; a full disk loses this one and nothing else."""
    values = [as_json(each) for each in [*read(folder), figure][-KEPT:]]
    while len(data := json.dumps(values).encode("ascii")) > MOST_BYTES and len(values) > 1:
        values = values[len(values) // 2 :]
    with contextlib.suppress(OSError):
        write_atomic(folder / FILE, data)


def read(folder: Path) -> list[OwnFigure]:
    """Oldest first; a damaged file is no reason to stop."""
    try:
        with (folder / FILE).open("rb") as file:
            return [OwnFigure(**each) for each in json.loads(file.read(MOST_BYTES))]
    except (OSError, ValueError, TypeError):
        return []


def as_json(figure: OwnFigure) -> dict[str, Any]:
    """As JSON values."""
    return {**asdict(figure), "metrics": dict(figure.metrics)}
