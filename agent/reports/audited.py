"""What `agent audit` found last in this home, for its privacy report; it says how near the claims an attack comes."""

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgeveil.shared.base.clock import Clock, utc_text
from edgeveil.shared.base.files import write_atomic
from edgeveil.shared.base.installed import software

FILE = "audit.json"
MAX_BYTES = 100_000

_Figure = Annotated[float, Field(ge=0, le=1e9)]
_Word = Annotated[str, Field(max_length=200)]


class _Kept(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class Near(_Kept):
    """At one claim; a bound of None is above every figure."""

    epsilon_claimed: _Figure
    epsilon_lower_bound: _Figure | None
    epsilon_gaussian: _Figure
    why: Annotated[tuple[_Word, ...], Field(max_length=8)]


class Audited(_Kept):
    """The newest audit, as the report shows it."""

    time: _Word
    software: _Word
    task: _Word
    passed: bool
    canaries: Annotated[int, Field(ge=1, le=1_000_000)]
    confidence: Annotated[float, Field(gt=0, lt=1)]
    near: Annotated[tuple[Near, ...], Field(max_length=8)]


def keep(home: Path, told: Mapping[str, Any], clock: Clock) -> None:
    """Beside the ledger, where there is a home; a full disk forgets it."""
    if home.is_dir():
        kept = {**told, "time": utc_text(clock), "software": software()}
        with contextlib.suppress(OSError):
            write_atomic(home / FILE, json.dumps(kept, sort_keys=True).encode("ascii"))


def newest(home: Path) -> dict[str, Any] | None:
    """What was kept; None if there is none, or if it cannot be read as one."""
    try:
        with (home / FILE).open("rb") as file:
            return Audited.model_validate_json(file.read(MAX_BYTES)).model_dump(mode="json")
    except (OSError, ValidationError):
        return None
