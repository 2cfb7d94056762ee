"""What the records of a data set are, whatever they hold: fixed by their owner, and asked for by a task.

Only these public values decide how a folder is read and whether an offer fits; no record does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeveil.shared.base.errors import DataError
from edgeveil.shared.base.names import listed
from edgeveil.shared.data.arrays import open_arrays
from edgeveil.shared.data.folders import Shape, try_folders
from edgeveil.shared.data.headers import has_colours
from edgeveil.shared.data.images import MAX_VALUES, Images, read_images, the_archive
from edgeveil.shared.data.left_out import LeftOut
from edgeveil.shared.data.tree import archives, look

IMAGES = "images"
PHOTO = (28, 28)  # height and width to which photos are brought, unless their owner says otherwise
MOST_LABELS = 1000
LOOKED_AT = (
    201  # photos, evenly spread over the folders, whose headers say whether all are in colours
)
COLOURS = (1, 3)  # channels: grey; red, green and blue


@dataclass(frozen=True, slots=True)
class Schema:
    """`shape` of one record, for images (height, width, channels); `labels` in the order of the indices."""

    kind: str
    shape: tuple[int, ...]
    labels: tuple[str, ...]

    def __str__(self) -> str:
        height, width, channels = self.shape
        colour = "grey" if channels == 1 else "in colours"
        return f"{self.kind}, {height}×{width} {colour}, labels {listed(self.labels)}"

    def fits(self, asked: "Schema") -> bool:
        """Whether a task for `asked` can use such records; a class that is not here is no hindrance."""
        same = (self.kind, self.shape) == (asked.kind, asked.shape)
        return same and set(self.labels) <= set(asked.labels)

    def read(self, path: Path) -> Images:
        """Every record of an image folder or .npz file under this schema; raises DataError."""
        return read_images(path, self.labels, self._image_shape())

    def survey(self, path: Path) -> "Survey":
        """What read() would give, in numbers, and without holding more than an archive; raises DataError."""
        if the_archive(path) is None:
            counts, left = try_folders(path, self.labels, self._image_shape())
            return Survey(tuple(counts.tolist()), left)
        found = self.read(path)
        counts = np.bincount(found.targets, minlength=len(self.labels))
        return Survey(tuple(counts.tolist()), found.left, found.advice)

    def _image_shape(self) -> Shape:
        height, width, channels = self.shape
        return height, width, channels


@dataclass(frozen=True, slots=True)
class Survey:
    """`usable` records of each label, in their order; `advice` if most records have one fault in common."""

    usable: tuple[int, ...]
    left: tuple[LeftOut, ...]
    advice: str = ""


def infer(path: Path) -> Schema:
    """The schema of a probed folder or .npz file of images as it is now; raises DataError.

    Photos are in colours if more than half of those looked at are stored so: no single one decides.
    """
    found = archives(path)
    if not found:
        tree = look(path)
        return Schema(
            IMAGES,
            (*PHOTO, 3 if mostly_coloured([file for _, file in tree.files]) else 1),
            tree.labels,
        )
    arrays = open_arrays(found[0], ("X", "y"), most=4 * MAX_VALUES)
    raw, labels = arrays["X"], arrays["y"]
    sides = _sides(raw.shape[1:])
    if len(sides) != 3 or labels.dtype.kind not in "iu" or not len(labels):
        raise DataError(
            f"{found[0]}: X has shape {raw.shape} and y type {labels.dtype}, expected "
            "(n, height, width), with 1 or 3 channels before or after them, and integers"
        )
    known = labels[(labels >= np.int64(0)) & (labels < np.int64(MOST_LABELS))]
    top = int(known.max()) if known.size else 0
    return Schema(IMAGES, sides, tuple(str(index) for index in range(top + 1)))


def mostly_coloured(pictures: Sequence[Path]) -> bool:
    """Whether more than half of those looked at are stored in colours."""
    count = len(pictures)
    looked = min(count, LOOKED_AT)
    chosen = (pictures[at * count // looked] for at in range(looked))
    known = [answer for path in chosen if (answer := has_colours(path)) is not None]
    return 2 * sum(known) > len(known)


def _sides(axes: tuple[int, ...]) -> tuple[int, ...]:
    """Height, width and channels of one record of an array, which may lack the last; () for other records."""
    if len(axes) == 2:
        return (*axes, 1)
    if len(axes) == 3 and axes[0] != 1 and axes[2] in COLOURS:
        return axes
    return (*axes[1:], axes[0]) if len(axes) == 3 and axes[0] in COLOURS else ()
