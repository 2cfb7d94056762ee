"""From named inputs to predictions, batch by batch, in the order of the inputs."""

from collections.abc import Callable, Iterator, Sequence
from typing import IO, TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgeveil.agent.inference.boxes import Boxes
from edgeveil.agent.inference.inputs import Item, from_frame, read
from edgeveil.agent.inference.runtime import Model, Said
from edgeveil.agent.inference.video.cameras import is_live
from edgeveil.agent.inference.video.frames import Pace
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.models.taken import ImageInput
from edgeveil.shared.terminal.progress import Step, silent

if TYPE_CHECKING:
    from edgeveil.agent.inference.video.tracking import Found

Answer = tuple[str, Said | None, str]  # the input's name, what the model says, or why nothing


def predictions(
    model: Model,
    paths: Sequence[str],
    stdin: IO[bytes],
    step: Step = silent,
    pace: Pace | None = None,
    *,
    first: int = 0,
) -> Iterator[Answer]:
    """Every record of every file; `step` counts files, `pace` says which frames of a video, `first` from which line on
    a records.csv is read.
    """
    waiting: list[Item] = []
    for path in paths:
        together = 1 if is_live(path) else model.batch
        for item in read(path, model.input, stdin, pace, first):
            waiting.append(item)
            if len(waiting) >= together:
                yield from _answered(model, waiting)
                waiting = []
        step(1)
    yield from _answered(model, waiting)


def _answered(model: Model, items: Sequence[Item]) -> Iterator[Answer]:
    records = [item.record for item in items if item.record is not None]
    placed = [item.placed for item in items if item.record is not None]
    said = iter(model.said(np.stack(records), placed) if records else ())
    for item in items:
        if item.record is None:
            yield item.name, None, item.why
        else:
            yield item.name, next(said), ""


def frame_finder(model: Model) -> Callable[[NDArray[np.uint8]], list["Found"]]:
    """What a detector finds in a frame (height, width, 3), in its pixels; raises ConfigError for another model."""
    from edgeveil.agent.inference.video.tracking import Found  # noqa: PLC0415 - pictures need none of it

    taken = model.input
    if model.finder is None or not isinstance(taken, ImageInput):
        raise ConfigError("this model finds no boxes, it chooses a label")

    def find(pixels: NDArray[np.uint8]) -> list[Found]:
        item = from_frame("", pixels, taken)
        if item.record is None:
            return []
        (said,) = model.said(item.record[None], [item.placed])
        boxes = said.boxes if isinstance(said, Boxes) else ()
        return [Found(box.label, box.score, (box.x1, box.y1, box.x2, box.y2)) for box in boxes]

    return find
