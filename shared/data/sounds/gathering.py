"""Records of one or several senses as they come, gathered into arrays or only counted."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeveil.shared.data.left_out import LeftOut

Part = NDArray[np.float32]
Record = tuple[dict[str, Part], int] | LeftOut  # its parts by sense, and the index of its class


@dataclass(frozen=True, slots=True, eq=False)
class Gathered:
    """`parts` (N, …) by sense, `targets` (N,)."""

    parts: dict[str, Part]
    targets: NDArray[np.int64]
    left: list[LeftOut]


def gather(found: Iterable[Record], shapes: Mapping[str, tuple[int, ...]], most: int) -> Gathered:
    """Up to `most` records with parts of these shapes."""
    parts = {name: np.empty((most, *shape), np.float32) for name, shape in shapes.items()}
    targets: list[int] = []
    left: list[LeftOut] = []
    for each in found:
        if isinstance(each, LeftOut):
            left.append(each)
            continue
        for name, part in each[0].items():
            parts[name][len(targets)] = part
        targets.append(each[1])
    kept = {name: part[: len(targets)] for name, part in parts.items()}
    return Gathered(kept, np.array(targets, np.int64), left)


def survey(found: Iterable[Record], classes: int) -> tuple[tuple[int, ...], list[LeftOut]]:
    """Records of each class, and what is left out; holds no record."""
    counts = [0] * classes
    left: list[LeftOut] = []
    for each in found:
        if isinstance(each, LeftOut):
            left.append(each)
        else:
            counts[each[1]] += 1
    return tuple(counts), left
