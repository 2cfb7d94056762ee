"""A small real data set for every variant of the catalogue, so that one suite can try all of them.

`write` makes a folder or file of so many records; without the record `leave` if that is a number.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from catalogue_bench import grey_digits, write_npz
from sensors_bench import MOTION, motion, write_table

from edgeveil.shared.tasks.registry import load, newest

COLUMNS = "temp [°C] -40..85, load [%] 0..100, flow 0..1"
ACCELERATION = "ax [g] -8..8, ay [g] -8..8, az [g] -8..8"
RANGES = ACCELERATION + ", wx [rad/s] -35..35, wy [rad/s] -35..35, wz [rad/s] -35..35"
LENGTH = 32
CLASSES = 3
_TABLE = """\
[[columns]]
name = "temp"
unit = "°C"
range = [-40, 85]

[[columns]]
name = "flow"
range = [0, 1]

[[columns]]
name = "load"
unit = "%"
range = [0, 100]

[[columns]]
name = "power"
unit = "W"
role = "target"
range = [0, 500]

[[columns]]
name = "state"
role = "label"
labels = ["b", "a", "c"]
"""


@dataclass(frozen=True)
class Case:
    """`size`: parameters under these options."""

    task: str
    variant: str
    options: dict[str, object]
    size: int
    write: Callable[..., Path]

    def made(self):
        found = load(newest(self.task))
        return found, found.parse_options({"variant": self.variant, **self.options})

    def __str__(self) -> str:
        return f"{self.task}-{self.variant}"


def _kept(count, leave):
    return np.array([at for at in range(count) if at != leave], np.int64)


def images(folder, count, leave=None):
    pixels, labels = grey_digits(count)
    rows = _kept(count, leave)
    return write_npz(folder / "d.npz", X=pixels[rows], y=labels[rows])


def rows(folder, count, leave=None):
    random = np.random.default_rng(4)
    lines = ["flow,state,temp,load,power"]
    for at, values in enumerate(random.uniform(size=(count, 3))):
        flow, temp, load_ = values
        power = 100 + 300 * flow - 50 * load_
        line = f"{flow:.4f},{'abc'[at % 3]},{85 * temp:.2f},{100 * load_:.1f},{power:.2f}"
        lines += [line] if at != leave else []
    return write_table(folder, "\n".join(lines), _TABLE)


def windows(folder, count, leave=None):
    values, labels = motion(count, LENGTH, CLASSES)
    kept = _kept(count, leave)
    label = '[[columns]]\nname = "activity"\nrole = "label"\nlabels = ["0", "1", "2"]\n'
    write_table(folder, "", f"window = {LENGTH}\n{MOTION}{label}")
    (folder / "a.csv").unlink()
    write_npz(folder / "d.npz", X=values[kept], y=labels[kept])
    return folder


_ROWS = {"columns": COLUMNS, "labels": "a,b,c"}
_WINDOWS = {"columns": RANGES, "labels": "0,1,2", "window": LENGTH}
_PLAIN = {**_WINDOWS, "columns": ACCELERATION}
_NEXT = {"columns": ACCELERATION, "window": LENGTH, "target": "ay [g]"}
CASES = [
    Case("anomaly", "vae", {"columns": COLUMNS, "normal": "a"}, 455, rows),
    Case("anomaly", "vae", {"columns": ACCELERATION, "window": LENGTH, "normal": "0,1", "latent": 4}, 6_696, windows),
    Case("feature-head", "fixed", {}, 5_890, images),
    Case("feature-head", "fixed", {"features": "blocks"}, 18_170, images),
    Case("forecasting", "statistics", _NEXT, 106, windows),
    Case("forecasting", "gru", {**_NEXT, "hidden": 8, "ahead": 4}, 321, windows),
    Case("image-classification", "cnn", {}, 20_586, images),
    Case("image-classification", "linear", {}, 7_850, images),
    Case("rare-classes", "logistic", {**_ROWS, "knots": 5}, 51, rows),
    Case("sensor-sequence", "statistics", _WINDOWS, 768, windows),
    Case("sensor-sequence", "statistics", _PLAIN, 237, windows),
    Case("sensor-sequence", "cnn1d", _WINDOWS, 11_683, windows),
    Case("sensor-sequence", "lstm", {**_WINDOWS, "hidden": 8}, 539, windows),
    Case("sensor-sequence", "gru", {**_WINDOWS, "hidden": 8}, 411, windows),
    Case("tabular", "logistic", _ROWS, 12, rows),
    Case("tabular", "mlp", _ROWS, 227, rows),
    Case("tabular-regression", "linear", {"columns": COLUMNS, "target": "power [W] 0..500"}, 4, rows),
    Case("tabular-regression", "mlp", {"columns": COLUMNS, "target": "power [W] 0..500"}, 161, rows),
]  # fmt: skip
