"""The records of a simulation: an operator's folder, or the digits that come along, parted among its devices."""

import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeveil.coordinator.plan.plan import Plan
from edgeveil.coordinator.runs.runs import find_task
from edgeveil.coordinator.simulation.partition import HELD_OUT, assign
from edgeveil.coordinator.simulation.settings import Simulation
from edgeveil.coordinator.simulation.units import open_units
from edgeveil.shared.base.errors import ConfigError, DataError
from edgeveil.shared.base.files import overlap
from edgeveil.shared.data import kinds
from edgeveil.shared.data.schema import IMAGES
from edgeveil.shared.tasks import registry

FILE = Path(__file__).with_name(
    "digits.npz"
)  # 1,797 of 8 × 8, 0 to 16: UCI, E. Alpaydin, CC BY 4.0
HELD_OUT_SHARE = (
    0.2  # of each class, for the coordinator to measure on where the plan names no data of its own
)
SIDE, INNER = 28, 20


def check(plan: Plan, data: Path | None) -> None:
    """Raise ConfigError where these are no records for the plan, or those that judge its model; DataError if there are none."""
    task = registry.load(find_task(plan))
    asked = task.schema(task.parse_options(plan.task.options)).kind
    if data is None:
        if asked != IMAGES:
            raise ConfigError(
                f"{plan.task.id} takes {asked}, and the digits that come along are pictures; name --data"
            )
        return
    open_units(data)
    found, test = kinds.infer(data).kind, plan.evaluation.data
    if found != asked:
        raise ConfigError(
            f"--data {data}: holds {found}, and {plan.task.id} takes {asked}; name other data"
        )
    if test is not None and overlap(test.resolve(), data.resolve()):
        raise ConfigError(
            f"--data {data}: evaluation.data of the plan is {test}, so that the model would be judged by what it was trained on; "
            "leave evaluation.data out, and a fifth is held out"
        )


def all_records(home: Path, simulation: Simulation) -> Path:
    """The whole folder; the digits are written as an owner's own data would lie."""
    if simulation.data is not None:
        return simulation.data
    folder = home / "digits"
    if not (folder / "data.npz").exists():
        with np.load(FILE) as found:
            pixels, labels = _enlarged(found["X"]), found["y"].astype(np.int64)
        folder.mkdir(exist_ok=True)
        np.savez_compressed(folder / "data.npz", X=pixels, y=labels)
    return folder


def device_folder(home: Path, number: int) -> Path:
    return home / "data" / f"device-{number}"


def held_out(home: Path) -> Path:
    return home / "data" / "server"


def part(home: Path, simulation: Simulation) -> None:
    """All or nothing, and only once; raises DataError, ConfigError for what cannot be parted like this."""
    done = home / "data"
    if done.exists():
        return
    making = home / "data.part"
    shutil.rmtree(making, ignore_errors=True)
    units = open_units(all_records(home, simulation))
    try:
        places = assign(
            units, simulation.agents, simulation.partition, HELD_OUT_SHARE, simulation.seed
        )
    except ConfigError as error:
        raise ConfigError(error.message.replace("--by ", "--partition ")) from error
    for place in sorted(set(places.tolist())):
        name = "server" if place == HELD_OUT else f"device-{place + 1}"
        units.write(making / name, np.flatnonzero(places == place))
    if not (making / "server").exists():
        raise DataError("too few records to hold some out; add records, or choose another --data")
    making.rename(done)


def _enlarged(small: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(N, 8, 8) in 17 greys to (N, 28, 28) in 256: bilinear to 20 × 20, in the middle as in MNIST."""
    side = small.shape[1]
    at = np.clip((np.arange(INNER) + 0.5) * side / INNER - 0.5, 0, side - 1)
    low = np.minimum(at.astype(int), side - 2)
    share = at - low
    weights = np.zeros((INNER, side))
    weights[np.arange(INNER), low] = 1 - share
    weights[np.arange(INNER), low + 1] += share
    inner = np.einsum("ia,nab,jb->nij", weights, small.astype(float) * (255 / 16), weights)
    whole = np.zeros((len(small), SIDE, SIDE), np.uint8)
    edge = (SIDE - INNER) // 2
    whole[:, edge : edge + INNER, edge : edge + INNER] = np.rint(inner)
    return whole
