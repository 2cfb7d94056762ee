"""What the records of a data set are, whatever they hold: fixed by their owner, and asked for by a task.

Only these public values decide how a folder is read and whether an offer fits; no record does.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeveil.shared.base.errors import DataError
from edgeveil.shared.data.arrays import open_arrays
from edgeveil.shared.data.folders import class_folders
from edgeveil.shared.data.images import MAX_VALUES, Images, read_images

IMAGES = "images"
PHOTO = (28, 28)  # height and width to which photos are brought, unless their owner says otherwise
MOST_LABELS = 1000


@dataclass(frozen=True, slots=True)
class Schema:
    """`shape` of one record, for images (height, width, channels); `labels` in the order of the indices."""

    kind: str
    shape: tuple[int, ...]
    labels: tuple[str, ...]

    def fits(self, asked: "Schema") -> bool:
        """Whether a task for `asked` can use such records; a class that is not here is no hindrance."""
        same = (self.kind, self.shape) == (asked.kind, asked.shape)
        return same and set(self.labels) <= set(asked.labels)

    def read(self, path: Path) -> Images:
        """Every record of an image folder or .npz file under this schema; raises DataError."""
        return read_images(path, self.labels, *self.shape[:2])


def infer(path: Path) -> Schema:
    """The schema of a probed folder or .npz file of images as it is now; raises DataError."""
    archives = [path] if path.is_file() else sorted(path.glob("*.npz"))
    if not archives:
        return Schema(IMAGES, (*PHOTO, 1), class_folders(path))
    arrays = open_arrays(archives[0], ("X", "y"), most=4 * MAX_VALUES)
    raw, labels = arrays["X"], arrays["y"]
    sides = raw.shape[1:]
    if len(sides) == 3 and 1 in (sides[0], sides[2]):
        sides = sides[1:] if sides[0] == 1 else sides[:2]
    if len(sides) != 2 or labels.dtype.kind not in "iu" or not len(labels):
        raise DataError(
            f"{archives[0]}: X has shape {raw.shape} and y type {labels.dtype}, expected "
            "(n, height, width) and integers"
        )
    known = labels[(labels >= np.int64(0)) & (labels < np.int64(MOST_LABELS))]
    top = int(known.max()) if known.size else 0
    return Schema(IMAGES, (*sides, 1), tuple(str(index) for index in range(top + 1)))
