"""TensorBoard's event files: DIR/RUN, one file per export that had something new to say.

What is there already is read back with TensorBoard's own loader, so a second export adds nothing
double. Writing needs neither torch nor TensorFlow.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.summary import Writer

from edgeveil.coordinator.reports.exports.points import Point
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.terminal.progress import Step


def export(folder: Path, points: Sequence[Point], step: Step) -> int:
    """How many values were new. Raises ConfigError if `folder` cannot be written."""
    try:
        known = set(written(folder))
        fresh = [
            (point, name)
            for point in points
            for name in point.values
            if (name, point.round) not in known
        ]
        if fresh:
            folder.mkdir(parents=True, exist_ok=True)
            _write(folder, fresh, step)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written ({error.strerror or error})") from error
    return len(fresh)


def written(folder: Path) -> Iterator[tuple[str, int]]:
    """(name, round) of every value in the event files; a file that was cut off counts as far as it goes."""
    for path in sorted(folder.glob("events.out.tfevents.*")):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                yield value.tag, int(event.step)


def _write(folder: Path, fresh: Sequence[tuple[Point, str]], step: Step) -> None:
    with contextlib.closing(Writer(str(folder))) as writer:
        for point, name in fresh:
            writer.add_scalar(name, point.values[name], point.round, wall_time=point.at)
            step(1)
