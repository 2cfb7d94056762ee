"""The task catalogue: which tasks this installation has. Loads a task's module only on demand.

Beside those of the product stand the own ones of a home (edgeveil.shared.tasks.own), which its command takes in.
"""

from collections.abc import Sequence

from edgeveil.shared.base.errors import ProtocolError, RefusalCode, StateDamaged
from edgeveil.shared.scores.class_scores import CLASSES
from edgeveil.shared.scores.detection import DETECTION
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
    "scores/tallies.py",
    "tasks/augmentation/draws.py",
    "tasks/classes.py",
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
    "scores/tallies.py",
    "tasks/augmentation/draws.py",
    "tasks/modules.py",
    "tasks/records.py",
    "tasks/sensors/networks.py",
    "tasks/sensors/tables.py",
)
_CLASSES = ("scores/classification.py", "tasks/classes.py", "tasks/sensors/classes.py")

_BOXES = (
    "data/boxes/formats/annotated.py",
    "data/boxes/formats/coco.py",
    "data/boxes/formats/files.py",
    "data/boxes/fitting.py",
    "data/boxes/formats/layout.py",
    "data/boxes/letterbox.py",
    "data/boxes/reading.py",
    "data/boxes/schema.py",
    "data/boxes/sights.py",
    "data/boxes/tiles.py",
    "data/boxes/formats/voc.py",
    "data/boxes/formats/yolo.py",
    "data/left_out.py",
    "data/pictures.py",
    "data/tree.py",
    "scores/boxes.py",
    "scores/detection.py",
    "scores/matching.py",
    "scores/tallies.py",
)

_SOUNDS = (
    *_COLUMNS,
    "data/folders.py",
    "data/headers.py",
    "data/images.py",
    "data/pictures.py",
    "data/schema.py",
    "data/sounds/compressed.py",
    "data/sounds/gathering.py",
    "data/sounds/recordings.py",
    "data/sounds/schema.py",
    "data/sounds/wav.py",
    "tasks/sounds/command.py",
    "tasks/sounds/features.py",
)

_CATALOGUE = (
    TaskSpec(
        id="anomaly",
        version="1.0.0",
        module="edgeveil.shared.tasks.sensors.anomaly",
        files=(*_COLUMNS, "scores/outliers.py", "tasks/sensors/anomaly.py"),
        scoring=OUTLIERS,
    ),
    TaskSpec(
        id="audio-command",
        version="1.0.0",
        module="edgeveil.shared.tasks.sounds.command",
        files=(*_SOUNDS, *_CLASSES),
        scoring=CLASSES,
    ),
    TaskSpec(
        id="detection",
        version="1.0.0",
        module="edgeveil.shared.tasks.detection.task",
        files=(
            *_BOXES,
            "tasks/augmentation/draws.py",
            "tasks/detection/augmentation.py",
            "tasks/detection/geometry.py",
            "tasks/detection/loss.py",
            "tasks/detection/networks.py",
            "tasks/detection/options.py",
            "tasks/detection/showing.py",
            "tasks/detection/targets.py",
            "tasks/detection/task.py",
            "tasks/modules.py",
            "tasks/records.py",
        ),
        scoring=DETECTION,
        from_scratch=(
            "a detector that learns everything with noise finds nothing (mAP@0.5 below .01 at epsilon 8 with four "
            'cameras of 150 pictures); let [model] initial name a public one, and set task.options.train = "classes"'
        ),
    ),
    TaskSpec(
        id="detection-two-stage",
        version="1.0.0",
        module="edgeveil.shared.tasks.detection.two_stage.task",
        files=(
            *_BOXES,
            "tasks/detection/options.py",
            "tasks/detection/showing.py",
            "tasks/detection/targets.py",
            "tasks/detection/two_stage/loss.py",
            "tasks/detection/two_stage/network.py",
            "tasks/detection/two_stage/options.py",
            "tasks/detection/two_stage/task.py",
            "tasks/modules.py",
            "tasks/records.py",
        ),
        scoring=DETECTION,
        from_scratch=(
            "a detector that learns everything with noise finds nothing (mAP@0.5 below .01); let [model] initial name a "
            'public one, and set task.options.train = "classes"'
        ),
    ),
    TaskSpec(
        id="feature-head",
        version="1.2.0",
        module="edgeveil.shared.tasks.feature_head",
        files=(
            *_IMAGES,
            "tasks/augmentation/pictures.py",
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
        version="1.1.0",
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
        files=(
            *_IMAGES,
            "tasks/augmentation/pictures.py",
            "tasks/features.py",
            "tasks/image_classification.py",
        ),
        scoring=CLASSES,
    ),
    TaskSpec(
        id="multimodal",
        version="1.0.0",
        module="edgeveil.shared.tasks.sounds.multimodal",
        files=(
            *_SOUNDS,
            *_CLASSES,
            "data/sounds/pair_table.py",
            "data/sounds/pairs.py",
            "tasks/features.py",
            "tasks/sensors/statistics.py",
            "tasks/sensors/synthetic.py",
            "tasks/sounds/multimodal.py",
        ),
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
            "tasks/augmentation/windows.py",
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


_own: tuple[TaskSpec, ...] = ()


def catalogue() -> tuple[TaskSpec, ...]:
    """Every installed task: the product's, then own ones, each ascending by id and version."""
    return (*_CATALOGUE, *_own)


def product() -> tuple[TaskSpec, ...]:
    """Those that came with the product."""
    return _CATALOGUE


def take_own(tasks: Sequence[TaskSpec]) -> None:
    """From now on these are the own tasks of this process; none of them may have an id of the product's."""
    global _own  # noqa: PLW0603  one home per process
    ids = {spec.id for spec in _CATALOGUE}
    _own = tuple(spec for spec in tasks if spec.id not in ids)


def find(task_id: str, version: str) -> TaskSpec:
    """Raise ProtocolError(TASK_UNKNOWN) unless exactly this task is installed."""
    for spec in catalogue():
        if (spec.id, spec.version) == (task_id, version):
            return spec
    known = ", ".join(f"{spec.id} {spec.version}" for spec in catalogue())
    raise ProtocolError(
        RefusalCode.TASK_UNKNOWN,
        f"task {task_id!r} {version!r} is not installed here; this installation has {known}",
    )


def newest(task_id: str) -> TaskSpec | None:
    """What is installed under this id; None for nothing."""
    return next((spec for spec in reversed(catalogue()) if spec.id == task_id), None)


def scoring(task_id: str) -> Scoring:
    """What the figures of a task mean, also those that an older version of it has left."""
    spec = newest(task_id)
    return Scoring() if spec is None else spec.scoring


def load(spec: TaskSpec) -> Task:
    """Import the task's module (this imports torch) and return its TASK.

    Raises:
        ConfigError: an own task is not what was installed.
    """
    task: Task = spec.exposed()
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
