"""Which model of a run is meant: that of a round, of the best round, of the last."""

from pathlib import Path

from edgeveil.coordinator.learning import judgement
from edgeveil.coordinator.plan.evaluation import judged_by
from edgeveil.coordinator.records.records import RoundRecord
from edgeveil.coordinator.reports.facts import RunFacts
from edgeveil.coordinator.runs.run_files import average_path, model_path
from edgeveil.shared.base.errors import ConfigError

BEST, LAST = "best", "last"


def best(found: RunFacts) -> RoundRecord | None:
    """None where no round was evaluated."""
    top = judgement.best(judgement.scored(found.committed, judged_by(found.plan)))
    return None if top is None else _record(found, top.number)


def last(found: RunFacts) -> RoundRecord | None:
    return found.committed[-1] if found.committed else None


def chosen(found: RunFacts, which: str | None) -> RoundRecord:
    """`which`: a round's number, "best" or "last"; None for the best there is to be told.

    Raises:
        ConfigError: the run has no such model.
    """
    run = found.run.run_id
    if which is None:
        record = best(found) or last(found)
    elif which in {BEST, LAST}:
        record = best(found) if which == BEST else last(found)
    elif which.isascii() and which.isdecimal() and len(which) <= 9:
        record = _record(found, int(which))
    else:
        raise ConfigError(f"--round {which!r}: write a round's number, best or last")
    if record is None:
        judged = which == BEST and bool(found.committed)
        why = "no round was evaluated; name one, or last" if judged else "no such round committed"
        raise ConfigError(f"run {run} has no model for --round {which or LAST}: {why}")
    return record


def weights_path(folder: Path, number: int) -> Path:
    """What is published of a round: the average where the plan wants one."""
    average = average_path(folder, number)
    return average if average.exists() else model_path(folder, number)


def _record(found: RunFacts, number: int) -> RoundRecord | None:
    return next((record for record in found.committed if record.round == number), None)
