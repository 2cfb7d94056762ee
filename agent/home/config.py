"""agent.toml in the agent's home: which data this device trains on. Everything else is policy.toml."""

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, Strict

from edgeveil.shared.base.config import Settings, load, validate
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.base.files import write_atomic
from edgeveil.shared.base.names import NAME

FILE = "agent.toml"


class ComputeConfig(Settings):
    """Where this device trains: sums, clipping and noise are the same everywhere.

    Without `threads`, one, unless OMP_NUM_THREADS says otherwise.
    """

    device: Literal["auto", "cpu", "cuda", "mps"] = "cpu"
    threads: Annotated[int, Strict(), Field(ge=1, le=1024)] | None = None


class AgentConfig(Settings):
    data: Path  # the owner's folder or .npz file, absolute
    dataset: str = Field(default="data", pattern=f"^{NAME.pattern}$")  # one ledger per data set
    watch: Annotated[bool, Strict()] = False  # whether records that come later are used too
    compute: ComputeConfig = ComputeConfig()


def settle(home: Path, data: Path | None, dataset: str | None) -> AgentConfig:
    """The stored configuration with the flags on top; nothing is written yet.

    Raises:
        ConfigError: no data folder was ever named, or agent.toml is wrong.
    """
    path = home / FILE
    values = load(path, AgentConfig).model_dump() if path.exists() else {}
    if data is not None:
        values["data"] = data.expanduser().absolute()
    if dataset is not None:
        values["dataset"] = dataset
    if "data" not in values:
        raise ConfigError(f"{path}: no data folder is known yet; give --data PATH")
    return validate(values, AgentConfig, source="agent")


def save(home: Path, config: AgentConfig) -> None:
    write_atomic(home / FILE, _render(config).encode())


def known_dataset(home: Path) -> str:
    """The data set of this home, for commands that only look."""
    path = home / FILE
    return load(path, AgentConfig).dataset if path.exists() else "data"


def known_data(home: Path) -> Path | None:
    """Where the records of this home lie, for commands that only look; None if it was never told."""
    path = home / FILE
    return load(path, AgentConfig).data if path.exists() else None


def known_compute(home: Path) -> ComputeConfig:
    """Where this home trains, for commands that only look."""
    path = home / FILE
    return load(path, AgentConfig).compute if path.exists() else ComputeConfig()


def _render(config: AgentConfig) -> str:
    quoted = str(config.data).replace("\\", "\\\\").replace('"', '\\"')
    return (
        "# Written by `agent join` and `agent run`.\n"
        f'data = "{quoted}"  # folder of pictures per class, .npz file, or folder with schema.toml\n'
        f'dataset = "{config.dataset}"  # names the ledger; one per logical data set, never reuse it\n'
        + (
            "watch = true  # the folder grows: looked at every five minutes\n"
            if config.watch
            else ""
        )
        + _rendered(config.compute)
    )


def _rendered(compute: ComputeConfig) -> str:
    """What differs from the defaults, as the owner wrote it."""
    values = compute.model_dump(exclude_defaults=True)
    lines = [f"{key} = {json.dumps(value)}\n" for key, value in values.items()]
    return "".join(["\n[compute]\n", *lines]) if lines else ""
