"""A small real data set for every variant of the catalogue, so that one suite can try all of them.

`write` makes a folder or file of so many records; without the record `leave` if that is a number.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from boxes_bench import write_coco
from catalogue_bench import grey_digits, write_npz, write_png
from sensors_bench import MOTION, motion, write_table
from sounds_bench import write_pairs, write_tones

from edgeveil.shared.tasks.conformance.subject import Subject
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
    """`size`: parameters under these options. `close`: how far two ways to one update may be apart, by rounding."""

    task: str
    variant: str
    options: dict[str, object]
    size: int
    write: Callable[..., Path]
    close: float = 1e-4

    def made(self):
        found = load(newest(self.task))
        return found, found.parse_options({"variant": self.variant, **self.options})

    def subject(self):
        return Subject(*self.made(), self.write)

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


def boxes(folder, count, leave=None):
    """Pictures of noise with up to two boxes each; the third shows nothing."""
    random = np.random.default_rng(6)
    truth, seen = {}, {}
    for at in range(count):
        seen[f"{at:03}"] = random.integers(0, 256, (20, 40, 3)).astype(np.uint8)
        corners = random.integers(0, 8, (1 + at % 2 - (at == 2), 2))
        truth[f"{at:03}"] = [(("car", "truck")[at % 2], x, y, x + 20, y + 9) for x, y in corners.tolist()]  # fmt: skip
    if leave is not None:
        del truth[f"{leave:03}"]
    write_coco(folder, truth)
    for name in truth:
        write_png(folder / "images" / f"{name}.png", seen[name])
    return folder


def sounds(folder, count, leave=None):
    return write_tones(folder, count, leave=leave)


def pairs(folder, count, leave=None):
    return write_pairs(folder, count, leave=leave)


def moments(folder, count, leave=None):
    return write_pairs(folder, count, leave=leave, senses=("window", "sound", "image"))


_FELT = {"columns": "ax [g] -2..2, load [%] 0..100", "window": 20}
_SOUNDS = {"labels": "high,low,mid", "rate": 8000}
_BOXES = {"labels": "bus,truck,car", "size": 64, "boxes_max": 4, "vary": False}
_FEW_BOXES = {"labels": "bus,truck,car", "size": 64, "boxes_max": 4}
_ROWS = {"columns": COLUMNS, "labels": "a,b,c"}
_WINDOWS = {"columns": RANGES, "labels": "0,1,2", "window": LENGTH}
_PLAIN = {**_WINDOWS, "columns": ACCELERATION}
_VARIED = {"flip": True, "crop": 3, "brightness": 20, "contrast": 30, "dropout": 25}
_SHAKEN = {"jitter": 4, "noise": 20, "dropout": 25}
_NEXT = {"columns": ACCELERATION, "window": LENGTH, "target": "ay [g]"}
CASES = [
    Case("anomaly", "vae", {"columns": COLUMNS, "normal": "a"}, 455, rows),
    Case("anomaly", "vae", {"columns": ACCELERATION, "window": LENGTH, "normal": "0,1", "latent": 4}, 6_696, windows),
    Case("audio-command", "cnn", _SOUNDS, 6_339, sounds),
    Case("audio-command", "statistics", _SOUNDS, 675, sounds),
    Case("detection", "lite", _BOXES, 473_920, boxes),
    Case("detection", "lite", {**_BOXES, "loss": "classic", "train": "classes"}, 1_746, boxes),
    Case("detection", "tiny", _BOXES, 546_932, boxes),
    Case("detection", "full", {**_BOXES, "width": "1/4"}, 3_864_064, boxes, 1e-3),
    Case("detection-two-stage", "mobilenet", {**_FEW_BOXES, "width": 32}, 2_843_238, boxes),
    Case("detection-two-stage", "mobilenet", {**_FEW_BOXES, "width": 32, "train": "classes"}, 132, boxes),
    Case("feature-head", "fixed", {}, 5_890, images),
    Case("feature-head", "fixed", {"features": "blocks"}, 18_170, images),
    Case("forecasting", "changes", _NEXT, 16, windows),
    Case("forecasting", "statistics", _NEXT, 106, windows),
    Case("forecasting", "gru", {**_NEXT, "hidden": 8, "ahead": 4}, 321, windows),
    Case("image-classification", "cnn", {}, 20_586, images),
    Case("image-classification", "cnn", {"train": "head"}, 15_690, images),
    Case("image-classification", "cnn", _VARIED, 20_586, images),
    Case("image-classification", "linear", {}, 7_850, images),
    Case("multimodal", "late", _SOUNDS, 2_439, pairs),
    Case("multimodal", "late", {**_SOUNDS, **_FELT, "senses": "window,image"}, 1_914, moments),
    Case("multimodal", "late", {**_SOUNDS, **_FELT, "senses": "sound,window"}, 822, moments),
    Case("multimodal", "late", {**_SOUNDS, **_FELT, "senses": "image,sound,window"}, 2_586, moments),
    Case("rare-classes", "logistic", {**_ROWS, "knots": 5}, 51, rows),
    Case("sensor-sequence", "statistics", _WINDOWS, 768, windows),
    Case("sensor-sequence", "statistics", _PLAIN, 237, windows),
    Case("sensor-sequence", "cnn1d", _WINDOWS, 11_683, windows),
    Case("sensor-sequence", "cnn1d", {**_WINDOWS, "train": "head"}, 195, windows),
    Case("sensor-sequence", "cnn1d", {**_WINDOWS, **_SHAKEN}, 11_683, windows),
    Case("sensor-sequence", "lstm", {**_WINDOWS, "hidden": 8}, 539, windows),
    Case("sensor-sequence", "gru", {**_WINDOWS, **_SHAKEN, "hidden": 8}, 411, windows),
    Case("sensor-sequence", "gru", {**_WINDOWS, "hidden": 8}, 411, windows),
    Case("tabular", "logistic", _ROWS, 12, rows),
    Case("tabular", "mlp", _ROWS, 227, rows),
    Case("tabular", "mlp", {**_ROWS, "train": "head"}, 99, rows),
    Case("tabular-regression", "linear", {"columns": COLUMNS, "target": "power [W] 0..500"}, 4, rows),
    Case("tabular-regression", "mlp", {"columns": COLUMNS, "target": "power [W] 0..500"}, 161, rows),
]  # fmt: skip
