"""Image folders: `root/<class>/<picture>`, as the owner already has them.

The class list comes from the task and not from the folder names on disk. What cannot be read, and
folders of unknown classes, are left out and listed for the owner.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeveil.shared.data.left_out import LeftOut, Reason, by_reason
from edgeveil.shared.data.pictures import Pixels, read_picture
from edgeveil.shared.data.tree import Tree, look

Shape = tuple[int, int, int]  # height, width, channels


def read_folders(
    root: Path, classes: tuple[str, ...], shape: Shape
) -> tuple[Pixels, NDArray[np.int64], tuple[LeftOut, ...]]:
    """All pictures (N, height, width[, 3]) in 0..1, their class indices, and what was left out.

    Raises nothing for what a folder holds: the names and numbers of the owner's files are private.
    """
    found = look(root)
    left = [*found.left, *_strange(root, found, classes)]
    targets: list[int] = []
    pixels = np.empty((len(found.files), *record_shape(shape)), dtype=np.float32)
    for index, picture in _pictures(found, classes, shape):
        if isinstance(picture, LeftOut):
            left.append(picture)
        else:
            pixels[len(targets)] = picture
            targets.append(index)
    return pixels[: len(targets)], np.array(targets, dtype=np.int64), by_reason(left)


def try_folders(
    root: Path, classes: tuple[str, ...], shape: Shape
) -> tuple[NDArray[np.int64], tuple[LeftOut, ...]]:
    """The same without keeping a picture: how many of each class (K,), and what was left out."""
    found = look(root)
    left = [*found.left, *_strange(root, found, classes)]
    counts = np.zeros(len(classes), dtype=np.int64)
    for index, picture in _pictures(found, classes, shape):
        if isinstance(picture, LeftOut):
            left.append(picture)
        else:
            counts[index] += 1
    return counts, by_reason(left)


def record_shape(shape: Shape) -> tuple[int, ...]:
    """Of one record: without an axis of channels where there is one channel."""
    return shape[:2] if shape[2] == 1 else shape


def _pictures(
    found: Tree, classes: tuple[str, ...], shape: Shape
) -> Iterator[tuple[int, Pixels | LeftOut]]:
    """Every file of a class of the task, in the order of classes and names."""
    paths: dict[str, list[Path]] = {}
    for label, path in found.files:
        paths.setdefault(label, []).append(path)
    for index, name in enumerate(classes):
        for path in paths.get(name, ()):
            yield index, read_picture(path, *shape)


def _strange(root: Path, found: Tree, classes: tuple[str, ...]) -> Iterator[LeftOut]:
    """One per folder that is no class of the task; usually a typing mistake."""
    counts = dict.fromkeys((name for name in found.labels if name not in classes), 0)
    for label, _ in found.files:
        if label in counts:
            counts[label] += 1
    for name, count in counts.items():
        why = (
            f"folder {name!r} is not a class of this task; rename it to one of "
            f"{', '.join(classes)} or move it away"
        )
        yield LeftOut(Reason.LABEL, str(root), why, count)
