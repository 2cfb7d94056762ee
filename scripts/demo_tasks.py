"""What the demo of each task trains on.

An entry deals data into a folder, agent-1/ … for the devices and test/ for the coordinator, and says which
figure tells how well it went. Its plan is the one that `coordinator plan new` writes with `words`; digits keep
settings of their own (scripts/demo_federation.py).
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import demo_data
import numpy as np
import partition
import shuttle
from data import CACHE, obtain

from edgeveil.shared.base.errors import DataError
from edgeveil.shared.tasks.registry import newest


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
    takes_files: bool = True  # whether `agent predict` takes the held-out data as they lie there


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


def states(folder: Path, agents: int) -> None:
    """So many rows of Shuttle for each, and as many held out as two have."""
    _some(agents)(folder / "shuttle")
    deal(folder, folder / "shuttle", agents, "iid")


def sensors(folder: Path, agents: int) -> None:
    """The same rows without their states: the ninth sensor is foretold from the others."""
    source = _some(agents)(folder / "shuttle")
    *features, low_high = shuttle.RANGES
    columns = [f'[[columns]]\nname = "s{at}"\nrange = [{low}, {high}]\n' for at, (low, high) in enumerate(features, 1)]  # fmt: skip
    columns.append(f'[[columns]]\nname = "s9"\nrole = "target"\nrange = {list(low_high)}\n')
    (source / "schema.toml").write_text("\n".join(columns))
    with np.load(source / "d.npz") as found:
        rows = found["X"]
    np.savez(source / "d.npz", X=rows[:, :8], y=rows[:, 8])
    deal(folder, source, agents, "time")


def _some(agents: int) -> Callable[[Path], Path]:
    values, labels = shuttle.read(shuttle.CACHE)
    drawn = np.random.default_rng(1).permutation(len(labels))[: (agents + 2) * ROWS]
    return lambda folder: shuttle.write(folder, (values[drawn], labels[drawn]))


def commands(folder: Path, agents: int) -> None:
    """Made by espeak-ng: each device has voices of its own, and what is held out has others."""
    _made("make_commands.py", folder, agents, "--recordings", "30", within="commands")


def moments(folder: Path, agents: int) -> None:
    """A thing that is seen and a word that is said, which together are an order."""
    _made("make_moments.py", folder, agents, "--moments", "40")


def _made(script: str, folder: Path, agents: int, *words: str, within: str = "") -> None:
    """By a script that writes device-1/ … and server/; `within`: the folder in each of them that holds the data."""
    made = folder / "made"
    _script(script.removesuffix(".py"), str(made), "--devices", str(agents), *words)
    for number in range(1, agents + 1):
        (made / f"device-{number}" / within).rename(folder / f"agent-{number}")
    (made / "server" / within).rename(folder / "test")


def cameras(folder: Path, agents: int) -> None:
    """Composed scenes of each camera, and for everybody a public detector of other scenes and other clothes."""
    _script("make_scenes", str(folder / "made"), "--cameras", str(agents), "--scenes", str(SCENES))
    for number in range(1, agents + 1):
        (folder / "made" / f"camera-{number}").rename(folder / f"agent-{number}")
    (folder / "made" / "test").rename(folder / "test")
    shutil.copyfile(_public_body(), folder / BODY)


def _public_body() -> Path:
    """Trained once, which takes minutes, and kept for as long as the task is the same."""
    made = CACHE / f"body-{newest('detection').task_hash().hex()[:16]}-{BODY_STEPS}.safetensors"
    if not made.exists():
        made.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=made.parent) as work:
            _script("public_body", f"{work}/{BODY}", "--steps", str(BODY_STEPS))
            Path(work, BODY).rename(made)
    return made


def _script(name: str, *arguments: str) -> None:
    command = [sys.executable, str(Path(__file__).with_name(f"{name}.py")), *arguments]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise DataError(said or f"{name} has failed")


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


MOST_WEARERS, ROWS = 10, 2000
SCENES = 150  # of one camera
BODY, BODY_STEPS = "body.safetensors", 600
TABLE = ("--data", "{test}", "--task")
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
    "forecasting": DemoTask(
        "watches of ten wearers: what the next row will be",
        wearers,
        records=190,
        metric="rmse",
        called="root mean squared error",
        form=".3f",
        things="windows",
        agents=10,
        words=(*TABLE, "forecasting", "--target", "ay [g]"),
    ),
    "tabular": DemoTask(
        "states of a shuttle, by nine sensors", states, records=ROWS, things="rows", words=TABLE[:2]
    ),
    "rare-classes": DemoTask(
        "states of a shuttle, some of them rare",
        states,
        records=ROWS,
        metric="macro_f1",
        called="macro F1",
        things="rows",
        words=(*TABLE, "rare-classes"),
    ),
    "tabular-regression": DemoTask(
        "a shuttle's ninth sensor, from the eight others",
        sensors,
        records=ROWS,
        metric="r2",
        called="R²",
        form=".3f",
        things="rows",
        words=TABLE[:2],
    ),
    "anomaly": DemoTask(
        "what is odd in a shuttle's sensors",
        states,
        records=ROWS,
        metric="roc_auc",
        called="ROC AUC",
        form=".3f",
        things="rows",
        words=(*TABLE, "anomaly", "--normal", "Rad.Flow"),
    ),
    "detection": DemoTask(
        "composed scenes of one camera each, on a public detector of other scenes",
        cameras,
        records=SCENES,
        metric="map50",
        called="mAP@0.5",
        things="pictures",
        words=(*TABLE[:2], "--initial", f"{{data}}/{BODY}"),
    ),
    "audio-command": DemoTask(
        "spoken commands, made by espeak-ng",
        commands,
        records=240,
        things="recordings",
        words=TABLE[:2],
    ),
    "multimodal": DemoTask(
        "what is seen and what is said (composed photos, espeak-ng)",
        moments,
        records=240,
        things="moments",
        words=TABLE[:2],
        takes_files=False,
    ),
}
