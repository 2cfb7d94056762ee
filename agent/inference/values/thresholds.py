"""From which score on a record is odd on this device: found on its own normal records, kept in its home, told to nobody.

Among n normal records that the model was not trained on, the k-th smallest score with k = ⌈(n + 1)(1 - rate)⌉
is passed by a further normal record with a chance of at most `rate`, whatever the scores look like (split
conformal prediction, Vovk et al. 2005, 4.2.2).
"""

import math
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgeveil.shared.base.errors import DataError, StateDamaged
from edgeveil.shared.base.files import private_directory, write_atomic

FILE = "thresholds.json"
MOST_KEPT = 64
MOST_BYTES = 1 << 20
_STRICT = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Threshold(BaseModel):
    """Of one model; `records`: normal ones that it was found on."""

    model_config = _STRICT

    model: Digest
    threshold: float
    false_alarms: Annotated[float, Field(gt=0, lt=1)]
    records: Annotated[int, Field(ge=1)]
    data: str


class _Kept(BaseModel):
    model_config = _STRICT

    thresholds: tuple[Threshold, ...] = ()


def found_on(scores: NDArray[np.float64], rate: float) -> float:
    """The threshold by the scores (n,) of normal records; raises DataError where they are too few for it."""
    place = math.ceil((len(scores) + 1) * (1 - rate))
    if place > len(scores):
        raise DataError(
            f"{len(scores)} normal records are too few for {rate:g} false alarms: at least {math.ceil(1 / rate) - 1} are needed"
        )
    return float(np.sort(scores)[place - 1])


def kept(home: Path, model: str) -> Threshold | None:
    """Raises StateDamaged."""
    return next((each for each in _read(home).thresholds if each.model == model), None)


def keep(home: Path, found: Threshold) -> None:
    """In place of the one that the model had."""
    others = [each for each in _read(home).thresholds if each.model != found.model]
    made = _Kept(thresholds=(*others, found)[-MOST_KEPT:])
    write_atomic(private_directory(home) / FILE, made.model_dump_json().encode())


def _read(home: Path) -> _Kept:
    path = home / FILE
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        return _Kept() if not data else _Kept.model_validate_json(data)
    except FileNotFoundError:
        return _Kept()
    except (ValidationError, OSError) as error:
        raise StateDamaged(
            f"{path}: damaged; remove it and find the threshold anew: agent model threshold"
        ) from error
