"""Files with tasks as a stranger would write them, good ones and bad ones."""

import numpy as np

GOOD = """\
from torch import nn

from edgeveil.shared.tasks.own.simple import Columns, SimpleTask


class Valve(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2))

    def forward(self, inputs):  # (N, 2), each in -1..1
        return self.body(inputs)


TASK = SimpleTask(
    id="valve",
    version="1.0.0",
    records=Columns("flow [l/s] 0..10, load [%] 0..100"),
    classes=("closed", "open"),
    model=Valve,
)
"""
WINDOWS = """\
from torch import nn

from edgeveil.shared.tasks.own.simple import Columns, SimpleTask

TASK = SimpleTask(
    id="shake",
    version="1.0.0",
    records=Columns("ax [g] -8..8, ay [g] -8..8", window=16),
    classes=("still", "moving", "broken"),
    model=lambda: nn.Sequential(nn.Flatten(), nn.Linear(32, 3)),
    loss=nn.CrossEntropyLoss(label_smoothing=0.1),
)
"""
NUMBER = """\
from torch import nn

from edgeveil.shared.tasks.own.simple import Columns, SimpleTask

TASK = SimpleTask(
    id="power",
    version="1.0.0",
    records=Columns("flow 0..1, load 0..1, temp 0..1"),
    number="power [W] 0..500",
    model=lambda: nn.Linear(3, 1),
    loss=lambda outputs, targets: (outputs - targets).abs(),
)
"""
PICTURES = """\
from torch import nn

from edgeveil.shared.tasks.own.simple import Pictures, SimpleTask

TASK = SimpleTask(
    id="leaf",
    version="1.0.0",
    records=Pictures(height=16, width=12, channels=3),
    classes=("healthy", "rust"),
    model=lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 14 * 10, 2)),
)
"""
ALL = {"valve": GOOD, "shake": WINDOWS, "power": NUMBER, "leaf": PICTURES}


def changed(old, new, text=GOOD):
    assert old in text
    return text.replace(old, new)


BATCH_NORM = changed("nn.Tanh()", "nn.BatchNorm1d(8)")
NORMALISED = changed("model=Valve,", "model=Valve,\n    loss=lambda o, t: nn.functional.cross_entropy(o, t, reduction='none') / len(t),")  # fmt: skip
MEAN_LOSS = changed("model=Valve,", "model=Valve,\n    loss=nn.functional.cross_entropy,")
STATE = changed("return self.body(inputs)", "self.last = getattr(self, 'last', 0) + 1\n        return self.body(inputs) * self.last")  # fmt: skip
NAN = changed("return self.body(inputs)", "return self.body(inputs) / 0 * 0")
NAN_SPREADS = changed("return self.body(inputs)", "return self.body(inputs) + 0 * inputs.mean()")


def write(folder, text, name="my_task.py"):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


VALVE_SCHEMA = """\
[[columns]]
name = "flow"
unit = "l/s"
range = [0, 10]

[[columns]]
name = "load"
unit = "%"
range = [0, 100]

[[columns]]
name = "state"
role = "label"
labels = ["closed", "open"]
"""


def write_valves(folder, count, salt=0):
    """A table in which a valve is open where the flow is above 5."""
    random = np.random.default_rng(salt)
    lines = ["flow,load,state"]
    for flow, load in zip(random.uniform(0, 10, count), random.uniform(0, 100, count), strict=True):
        lines.append(f"{flow:.3f},{load:.2f},{'open' if flow > 5 else 'closed'}")
    folder.mkdir(parents=True)
    (folder / "schema.toml").write_text(VALVE_SCHEMA)
    (folder / "a.csv").write_text("\n".join(lines) + "\n")
    return folder
