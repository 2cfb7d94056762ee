"""What an owner's records are, of whatever kind: pictures, also with boxes, sounds, tables or windows of numbers."""

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeveil.shared.data import schema
from edgeveil.shared.data.boxes import schema as boxes
from edgeveil.shared.data.left_out import LeftOut
from edgeveil.shared.data.sounds import pair_table, pairs
from edgeveil.shared.data.sounds import schema as sounds
from edgeveil.shared.data.tabular import schema as tables
from edgeveil.shared.data.tree import archives, look


class Found(Protocol):
    """Records as a schema has read them."""

    @property
    def targets(self) -> NDArray[np.int64]: ...

    @property
    def left(self) -> tuple[LeftOut, ...]: ...

    @property
    def skipped(self) -> tuple[str, ...]: ...

    @property
    def advice(self) -> str: ...


class Survey(Protocol):
    """`usable` records of each label, or one figure where there are none."""

    @property
    def usable(self) -> tuple[int, ...]: ...

    @property
    def left(self) -> tuple[LeftOut, ...]: ...

    @property
    def advice(self) -> str: ...


class RecordSchema(Protocol):
    """Public: what a policy pins and a task asks for. `shape` of one record, `labels` of its classes."""

    @property
    def kind(self) -> str: ...

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def labels(self) -> tuple[str, ...]: ...

    def fits(self, asked: Any) -> bool:
        """Whether a task for `asked` can use such records."""

    def read(self, path: Path) -> Any:
        """Every record, as Found; raises DataError."""

    def survey(self, path: Path) -> Survey:
        """What read() would give, in numbers; raises DataError."""


def infer(path: Path) -> RecordSchema:
    """The schema of a probed folder or file as it is now; raises DataError."""
    if tables.holds(path):
        return tables.infer_table(path)
    if not archives(path) and path.is_dir():
        if pair_table.holds(path):
            return pairs.infer_pairs(path)
        if boxes.holds(path):
            return boxes.infer_boxes(path)
        if not look(path).files and sounds.holds(path):
            return sounds.infer_sounds(path)
    return schema.infer(path)
