"""Which of the three formats a folder has, and what its annotations say."""

from pathlib import Path
from typing import Protocol

from edgeveil.shared.base.errors import DataError
from edgeveil.shared.data.boxes.formats import coco, voc, yolo
from edgeveil.shared.data.boxes.formats.annotated import Annotations

EXPECTED = (
    "images/ with one COCO .json, or with labels/ (YOLO), or JPEGImages/ with Annotations/ (VOC)"
)


class Format(Protocol):
    """A module each."""

    def holds(self, root: Path) -> bool:
        """By names alone."""

    def read(self, root: Path) -> Annotations:
        """Raise DataError for what is wrong with the whole."""


FORMATS: dict[str, Format] = {"voc": voc, "yolo": yolo, "coco": coco}


def form_of(root: Path) -> str | None:
    """The first format that the names in a folder have; None for none."""
    try:
        if not root.is_dir():
            return None
        return next((name for name, each in FORMATS.items() if each.holds(root)), None)
    except OSError:  # whoever lists it next says why it cannot be read
        return None


def annotations(root: Path, form: str | None = None) -> Annotations:
    """Raise DataError if the folder has no such format, or for what is wrong with the whole of it."""
    form = form or form_of(root)
    if form is None or not root.is_dir() or not FORMATS[form].holds(root):
        raise DataError(f"{root}: no pictures with boxes; expected {EXPECTED}")
    return FORMATS[form].read(root)
