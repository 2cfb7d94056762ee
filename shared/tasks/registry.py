"""The task catalogue: which tasks this installation has. Loads a task's module only on demand."""

import importlib

from edgeveil.shared.base.errors import ProtocolError, RefusalCode, StateDamaged
from edgeveil.shared.scores.class_scores import CLASSES
from edgeveil.shared.scores.metric import Scoring
from edgeveil.shared.scores.outliers import OUTLIERS
from edgeveil.shared.scores.regression import REGRESSION
from edgeveil.shared.tasks.spec import Task, TaskSpec
from edgeveil.shared.wire.standing import InstalledTask

_IMAGES = (
    "data/arrays.py",
    "data/folders.py",
    "data/headers.py",
    "data/images.py",
    "data/left_out.py",
    "data/pictures.py",
    "data/schema.py",
    "data/tree.py",
    "scores/classification.py",
    "tasks/images.py",
    "tasks/modules.py",
    "tasks/records.py",
)

_COLUMNS = (
    "data/arrays.py",
    "data/left_out.py",
    "data/tabular/arrays.py",
    "data/tabular/columns.py",
    "data/tabular/layout.py",
    "data/tabular/lines.py",
    "data/tabular/parquet.py",
    "data/tabular/reading.py",
    "data/tabular/rows.py",
    "data/tabular/schema.py",
    "data/tree.py",
    "tasks/modules.py",
    "tasks/records.py",
    "tasks/sensors/networks.py",
    "tasks/sensors/tables.py",
)
_CLASSES = ("scores/classification.py", "tasks/sensors/classes.py")

_CATALOGUE = (
    TaskSpec(
        id="anomaly",
        version="1.0.0",
        module="edgeveil.shared.tasks.sensors.anomaly",
        files=(*_COLUMNS, "scores/outliers.py", "tasks/sensors/anomaly.py"),
        scoring=OUTLIERS,
    ),
    TaskSpec(
        id="feature-head",
        version="1.2.0",
        module="edgeveil.shared.tasks.feature_head",
        files=(
            *_IMAGES,
            "tasks/backbone/asset.py",
            "tasks/backbone/embedding.py",
            "tasks/backbone/network.py",
            "tasks/block_features.py",
            "tasks/feature_head.py",
            "tasks/features.py",
        ),
        scoring=CLASSES,
    ),
    TaskSpec(
        id="forecasting",
        version="1.0.0",
        module="edgeveil.shared.tasks.sensors.forecasting",
        files=(
            *_COLUMNS,
            "scores/regression.py",
            "tasks/sensors/forecasting.py",
            "tasks/sensors/regression.py",
            "tasks/sensors/statistics.py",
            "tasks/sensors/synthetic.py",
        ),
        scoring=REGRESSION,
    ),
    TaskSpec(
        id="image-classification",
        version="1.2.0",
        module="edgeveil.shared.tasks.image_classification",
        files=(*_IMAGES, "tasks/features.py", "tasks/image_classification.py"),
        scoring=CLASSES,
    ),
    TaskSpec(
        id="rare-classes",
        version="1.0.0",
        module="edgeveil.shared.tasks.sensors.rare",
        files=(*_COLUMNS, *_CLASSES, "tasks/sensors/rare.py"),
        scoring=CLASSES,
    ),
    TaskSpec(
        id="sensor-sequence",
        version="1.0.0",
        module="edgeveil.shared.tasks.sensors.sequence",
        files=(
            *_COLUMNS,
            *_CLASSES,
            "tasks/sensors/sequence.py",
            "tasks/sensors/statistics.py",
            "tasks/sensors/synthetic.py",
        ),
        scoring=CLASSES,
    ),
    TaskSpec(
        id="tabular",
        version="1.0.0",
        module="edgeveil.shared.tasks.sensors.tabular",
        files=(*_COLUMNS, *_CLASSES, "tasks/sensors/tabular.py"),
        scoring=CLASSES,
    ),
    TaskSpec(
        id="tabular-regression",
        version="1.0.0",
        module="edgeveil.shared.tasks.sensors.regression",
        files=(*_COLUMNS, "scores/regression.py", "tasks/sensors/regression.py"),
        scoring=REGRESSION,
    ),
)


def catalogue() -> tuple[TaskSpec, ...]:
    """Every installed task, ascending by id and version."""
    return _CATALOGUE


def find(task_id: str, version: str) -> TaskSpec:
    """Raise ProtocolError(TASK_UNKNOWN) unless exactly this task is installed."""
    for spec in _CATALOGUE:
        if (spec.id, spec.version) == (task_id, version):
            return spec
    known = ", ".join(f"{spec.id} {spec.version}" for spec in _CATALOGUE)
    raise ProtocolError(
        RefusalCode.TASK_UNKNOWN,
        f"task {task_id!r} {version!r} is not installed here; this installation has {known}",
    )


def newest(task_id: str) -> TaskSpec | None:
    """What is installed under this id; None for nothing."""
    return next((spec for spec in reversed(_CATALOGUE) if spec.id == task_id), None)


def scoring(task_id: str) -> Scoring:
    """What the figures of a task mean, also those that an older version of it has left."""
    spec = newest(task_id)
    return Scoring() if spec is None else spec.scoring


def load(spec: TaskSpec) -> Task:
    """Import the task's module (this imports torch) and return its TASK."""
    module = importlib.import_module(spec.module)
    task: Task = module.TASK
    if task.spec != spec:
        raise StateDamaged(
            f"{spec.module} implements {task.spec.id} {task.spec.version}, the catalogue says "
            f"{spec.id} {spec.version}; reinstall edgeveil"
        )
    return task


def installed_tasks() -> list[InstalledTask]:
    """This installation's own."""
    return [
        InstalledTask(id=spec.id, version=spec.version, code=spec.code_hash().hex())
        for spec in catalogue()
    ]
