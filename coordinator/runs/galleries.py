"""What a run's models found in some of the held-out pictures: written beside the models, for the report."""

from pathlib import Path

from edgeveil.coordinator.records.gallery import Gallery, Moment, name_of
from edgeveil.shared.base.files import write_atomic


def keep(folder: Path, moment: Moment, number: int, jpegs: tuple[bytes, ...]) -> None:
    """Replace those of that moment by what the model of round `number` found; without pictures nothing is done."""
    if jpegs:
        write_atomic(folder / name_of(moment), Gallery.of(number, jpegs).to_json())
