"""The first lines of an own task, with a test beside them, for somebody who has a torch model."""

from pathlib import Path

from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.base.files import write_file
from edgeveil.shared.base.names import check_name

TASK = '''\
"""{name}: say here what this task learns, from which records.

Try it: agent task check {file}
Then, on the coordinator and on every device: … task install {file}
"""

from torch import nn

from edgeveil.shared.tasks.own.simple import Columns, SimpleTask


class Model(nn.Module):
    """Every record by itself: GroupNorm or LayerNorm, never BatchNorm, and nothing remembered."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 2))

    def forward(self, inputs):  # (N, columns), each in -1..1 by its range below
        return self.layers(inputs)  # (N, classes), before any softmax


TASK = SimpleTask(
    id="{name}",
    version="1.0.0",  # a change of what is computed is another version
    # Public ranges, from a data sheet: the same on every device, never from the records themselves.
    records=Columns("temperature [°C] -40..85, load [%] 0..100"),  # window=100 for windows of rows
    # records=Pictures(height=28, width=28, channels=1),  # then (N, channels, height, width) in 0..1
    classes=("ok", "fault"),  # or, for a number: number="power [W] 0..500", and (N,) or (N, 1) out
    model=Model,
    # loss=nn.CrossEntropyLoss(label_smoothing=0.1),  # a loss of torch.nn, or a function: a value per record
)
'''
TEST = '''\
"""Run it with: pytest test_{file}"""

from pathlib import Path

from edgeveil.agent.training.conforming import faults_of


def test_the_task_keeps_every_promise():
    assert faults_of(Path(__file__).with_name("{file}")) == []
'''


def begin(name: str, folder: Path) -> tuple[Path, Path]:
    """Write NAME.py and test_NAME.py, with `_` for `-`; raises ConfigError where one is there already."""
    file = check_name(name, "the task's name").replace("-", "_") + ".py"
    paths = folder / file, folder / f"test_{file}"
    for path in paths:
        if path.exists():
            raise ConfigError(f"{path}: is there already; choose another name or folder")
    for path, text in zip(paths, (TASK, TEST), strict=True):
        write_file(path, text.format(name=name, file=file).encode())
    return paths
