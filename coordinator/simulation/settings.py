"""What a simulation is, beside its plan: kept in its home, so that a later run is of the same devices."""

import shutil
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from edgeveil.coordinator.plan.config import SIMULATION
from edgeveil.coordinator.simulation.partition import check_way
from edgeveil.shared.base.config import Settings, validate
from edgeveil.shared.base.errors import ConfigError, StateDamaged
from edgeveil.shared.base.files import private_directory, write_atomic

ENROLLED = "devices.json"  # in the home, once all devices have joined
MOST_AGENTS = 10_000
OPTION = {"agents": "--agents", "data": "--data", "partition": "--partition", "seed": "--seed", "secagg": "--secagg"}  # fmt: skip


class Simulation(Settings):
    """`data` None: the digits that come along. `seed`: of the partition and of who drops out."""

    agents: int = Field(ge=2, le=MOST_AGENTS)
    data: Path | None = None
    partition: str = "iid"
    seed: int = Field(default=0, ge=0)
    secagg: Literal["real", "sum"] = "real"

    @field_validator("partition")
    @classmethod
    def _partition_is_known(cls, value: str) -> str:
        try:
            return check_way(value)
        except ConfigError as error:
            raise ValueError(error.message) from error

    @model_validator(mode="after")
    def _data_is_named_whole(self) -> Self:
        if self.data is not None and not self.data.is_absolute():
            raise ValueError("data is an absolute path")
        return self


def wanted(values: dict[str, Any]) -> Simulation:
    """Raises ConfigError with a line for each mistake."""
    return validate(values, Simulation, source="coordinator simulate")


def settle(home: Path, asked: Simulation) -> None:
    """Mark a new home as that of a simulation, before anything else is in it; an old one must be of this simulation.

    Raises:
        ConfigError: a home of a real coordinator, or of another simulation.
    """
    path = home / SIMULATION
    if (home / ENROLLED).exists():
        known = _load(path)
        if other := [name for name in OPTION if getattr(known, name) != getattr(asked, name)]:
            said = ", ".join(f"{OPTION[name]} {getattr(known, name)}" for name in other)
            raise ConfigError(
                f"{home}: holds a simulation with {said}; name these, or another --home"
            )
        return
    if home.exists() and any(home.iterdir()) and not path.exists():
        raise ConfigError(
            f"{home}: is no folder of a simulation and not empty; choose another --home"
        )
    private_directory(home)
    if path.exists() and _load(path) != asked:  # no device was made of it
        shutil.rmtree(home / "data", ignore_errors=True)
    write_atomic(path, asked.model_dump_json(indent=1).encode() + b"\n")


def _load(path: Path) -> Simulation:
    try:
        return Simulation.model_validate_json(path.read_bytes())
    except ValueError as error:
        raise StateDamaged(f"{path}: damaged; remove the folder, and simulate anew") from error
