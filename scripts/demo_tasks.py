"""What the demo of each task trains on.

An entry deals data into a folder, agent-1/ … for the devices and test/ for the coordinator, and says which
figure tells how well it went. Its plan is the one that `coordinator plan new` writes with `words`; digits keep
settings of their own (scripts/demo_federation.py).
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import demo_data
import partition
from data import CACHE, obtain

from edgeveil.shared.base.errors import DataError


@dataclass(frozen=True)
class DemoTask:
    """`deal(folder, agents)`; `records` of one device, about; `metric`, what it is called, its format."""

    about: str
    deal: Callable[[Path, int], None]
    records: int = 1000
    metric: str = "accuracy"
    called: str = "test accuracy"
    form: str = ".1%"
    things: str = "images"
    agents: int = 4
    rounds: int | None = None  # None: as the plan has it
    words: tuple[str, ...] = ()


def digits(folder: Path, agents: int) -> None:
    """4,000 of MNIST's; 1,000 held out."""
    if demo_data.main(["--agents", str(agents), "--out", str(folder)]):
        raise DataError("the digits could not be dealt")
    (folder / "test").mkdir()
    (folder / "test.npz").rename(folder / "test" / "data.npz")


def wearers(folder: Path, agents: int) -> None:
    """Each wearer is a device where there are as many; of every exercise, some recordings are held out."""
    obtain("watch", folder / "watch", CACHE)
    deal(folder, folder / "watch", agents, "iid" if agents > MOST_WEARERS else "group")


def appliances(folder: Path, agents: int) -> None:
    """Recordings of household appliances, dealt as they come; half of them held out, as their authors did."""
    obtain("plaid", folder / "plaid", CACHE)
    deal(folder, folder / "plaid" / "training", agents, "iid", test=folder / "plaid" / "test")


def deal(folder: Path, source: Path, agents: int, by: str, test: Path | None = None) -> None:
    """`source` to agent-1/ …; without `test`, a fifth of every class is held out first."""
    train = source
    if test is None:
        _part(source, folder / "held", 1, "iid", "0.2")
        train, test = folder / "held" / "device-1", folder / "held" / "server"
    _part(train, folder / "parts", agents, by, "0")
    for number in range(1, agents + 1):
        (folder / "parts" / f"device-{number}").rename(folder / f"agent-{number}")
    shutil.copytree(test, folder / "test")


def _part(source: Path, target: Path, devices: int, by: str, held_out: str) -> None:
    words = [
        str(source),
        str(target),
        "--devices",
        str(devices),
        "--by",
        by,
        "--held-out",
        held_out,
    ]
    if partition.main([*words, "--quiet"]):
        raise DataError(f"{source}: could not be parted")


MOST_WEARERS = 10
TASKS = {
    "feature-head": DemoTask("real handwritten digits", digits, rounds=5),
    "image-classification": DemoTask("real handwritten digits", digits, rounds=5),
    "sensor-sequence": DemoTask(
        "watches of ten wearers in seven exercises",
        wearers,
        records=190,
        things="windows",
        agents=10,
        words=("--data", "{test}"),
    ),
    "appliances": DemoTask(
        "the current of eleven household appliances",
        appliances,
        records=400,
        things="windows",
        words=("--data", "{test}"),
    ),
}
