"""The file of a first plan: commented, checked as any other before it is written."""

import json
from pathlib import Path

from edgeveil.coordinator.plan.first import (
    EPSILON,
    RECORDS,
    Cost,
    FirstPlan,
    Shape,
    Wanted,
    first_plan,
)
from edgeveil.coordinator.plan.first_rules import FEATURES
from edgeveil.coordinator.plan.sections import SecaggSection
from edgeveil.shared.base.errors import ConfigError, DataError
from edgeveil.shared.base.files import write_file
from edgeveil.shared.data.boxes import schema as boxes
from edgeveil.shared.data.kinds import infer as infer_any
from edgeveil.shared.data.probe import probe
from edgeveil.shared.data.schema import IMAGES, PHOTO, infer
from edgeveil.shared.data.sounds import pairs
from edgeveil.shared.data.sounds import schema as sounds
from edgeveil.shared.data.sounds.schema import SoundSchema
from edgeveil.shared.data.tabular.columns import Ranged
from edgeveil.shared.data.tabular.layout import ColumnSection, Layout, schema_of
from edgeveil.shared.data.tabular.reading import text_files
from edgeveil.shared.data.tabular.schema import TableSchema
from edgeveil.shared.data.tree import archives
from edgeveil.shared.tasks import registry
from edgeveil.shared.tasks.backbone import asset


def write_first_plan(
    file: Path,
    *,
    labels_from: Path | None,
    labels: str | None,
    data: Path | None,
    task: str | None,
    normal: str | None,
    target_column: str | None,
    channels: int | None,
    size: str | None = None,
    features: str | None,
    test: Path | None,
    agents: int,
    records: int | None,
    epsilon: float | None,
    force: bool,
) -> FirstPlan:
    """Write `file` and say what is in it. Imports torch, for the task has the last word.

    Without `features` it is the frozen network for photos in colours where its weights are installed.

    Raises:
        NotInstalled: the network is asked for, and its weights are not here.
        ConfigError: the file is there and not `force`, or what is asked for makes no plan.
        DataError: a named folder cannot be read as data.
    """
    if file.exists() and not force:
        raise ConfigError(
            f"{file}: this file is there already; --force replaces it, -o names another"
        )
    _check_named(labels_from, data)
    sound = _sound(labels_from, data)
    named, shape, columns, target = (
        (sound.labels, sound.shape, "", "") if sound else _records(labels_from, labels, data)
    )
    if (columns or sound) and (features is not None or channels is not None or size is not None):
        raise ConfigError(
            "--features, --channels and --size are for pictures, --data is for columns and recordings"
        )
    if not columns and not sound:
        shape, features = _pictures(shape, labels_from, size, channels, features)
    wanted = Wanted(
        named,
        shape,
        agents,
        RECORDS if records is None else records,
        EPSILON if epsilon is None else epsilon,
        None if test is None else test.expanduser().resolve(),
        columns,
        features or FEATURES,
        task or "",
        target,
        normal or "",
        target_column or "",
        sound,
    )
    if wanted.test is not None:
        probe(wanted.test)
    made = first_plan(wanted)
    chosen = registry.load(registry.find(made.plan.task.id, made.plan.task.version))
    chosen.parse_options(made.plan.task.options)
    from_disk = labels_from or data
    hint = None if from_disk is None else from_disk.expanduser().resolve()
    write_file(file, text(made, hint).encode())
    return made


def _check_named(labels_from: Path | None, data: Path | None) -> None:
    """Raise DataError for a folder that is not there, ConfigError for records of which no first plan is made."""
    for option, folder in (("--labels-from", labels_from), ("--data", data)):
        if folder is None:
            continue
        if not folder.exists():
            raise DataError(f"{option} {folder}: there is no such folder")
        if folder.is_dir() and pairs.holds(folder):
            raise ConfigError(
                f"{option} {folder}: these are pairs of a picture and a recording; begin with the plan in "
                "docs/tasks/multimodal.md"
            )


def _pictures(
    found: tuple[int, ...],
    folder: Path | None,
    size: str | None,
    channels: int | None,
    features: str | None,
) -> tuple[Shape, str | None]:
    """Their size, channels and features, as asked for or as they were `found`."""
    fixed = bool(folder and archives(folder))
    height, width, known = found
    sides = (height, width) if size is None else _sides(size)
    if fixed and sides != (height, width):
        raise ConfigError(f"--size {size}: the pictures of {folder} are arrays of {height}x{width}")
    shape = (*sides, known if channels is None else channels)
    return _seen(shape, features, fixed=fixed or size is not None)


def _sides(size: str) -> tuple[int, int]:
    """Height and width of "64" or "64x96"; what of it a task can take, it says itself."""
    parts = size.lower().split("x")
    if not 1 <= len(parts) <= 2 or not all(
        each.isascii() and each.isdecimal() and len(each) < 5 for each in parts
    ):
        raise ConfigError(
            f"--size {size}: write a side in pixels, as 64, or height and width, as 64x96"
        )
    return int(parts[0]), int(parts[-1])


def _seen(shape: Shape, features: str | None, *, fixed: bool) -> tuple[Shape, str]:
    """Shape and features of the records; photos, unless they are `fixed` in an archive, follow the features."""
    large = shape if fixed else (asset.SIDE, asset.SIDE, shape[2])
    if features is None and asset.suits(IMAGES, large) and asset.installed():
        features = asset.NAME
    if features != asset.NAME:
        return shape, features or FEATURES
    asset.check_weights()
    return large, features


def _sound(labels_from: Path | None, data: Path | None) -> SoundSchema | None:
    """What the recordings of a named folder are; None where it holds none, or two are named."""
    folder = data or labels_from
    if (
        folder is None
        or (data and labels_from)
        or not folder.is_dir()
        or schema_of(folder).is_file()
    ):
        return None
    found = infer_any(folder) if sounds.holds(folder) else None
    return found if isinstance(found, SoundSchema) else None


def _records(
    folder: Path | None, labels: str | None, tables: Path | None
) -> tuple[tuple[str, ...], tuple[int, ...], str, str]:
    """Class names, the shape of a record, columns and the target with their ranges, of a folder or as given."""
    if sum(each is not None for each in (folder, labels, tables)) != 1:
        raise ConfigError(
            "give the classes: --labels-from DIR, --labels A,B,… or, for columns and recordings, --data DIR (one "
            "of the three)"
        )
    if tables is not None:
        return _columns(tables)
    if folder is None:
        return tuple(name.strip() for name in (labels or "").split(",")), (*PHOTO, 1), "", ""
    if folder.is_dir() and boxes.holds(folder):
        raise ConfigError(
            f"{folder}: these are pictures with boxes; begin with the plan in docs/tasks/detection.md"
        )
    if folder.exists() and (schema_of(folder).is_file() or text_files(folder)):
        raise ConfigError(
            f"--labels-from {folder}: there are columns, and --labels-from is for pictures; use --data {folder}"
        )
    if not folder.is_dir():  # class folders may still be empty
        probe(folder)
    found = infer(folder)
    return found.labels, found.shape, "", ""


def _columns(folder: Path) -> tuple[tuple[str, ...], tuple[int, ...], str, str]:
    """What the schema.toml of a folder says; no file beside it is read."""
    if not schema_of(folder).is_file():
        raise ConfigError(
            f"{schema_of(folder)}: this file does not exist; copy that of the devices here (agent data schema begins "
            "one). For pictures: --labels-from DIR; recordings belong into CLASS folders"
        )
    layout = Layout.load(folder)
    shape = TableSchema.of(layout).shape
    columns = ", ".join(_ranged(each) for each in layout.features)
    return layout.labels, shape, columns, "".join(_ranged(each) for each in layout.of("target"))


def _ranged(section: ColumnSection) -> str:
    return str(Ranged(section.column, section.low, section.high))


def text(made: FirstPlan, hint: Path | None = None) -> str:
    """The commented plan.toml; `hint`: a folder that might serve as held-out data."""
    plan, wanted, cost = made.plan, made.wanted, made.cost
    training, rounds, secagg = plan.training, plan.rounds, plan.secagg
    options = ", ".join(f"{key} = {_toml(value)}" for key, value in plan.task.options.items())
    most = (
        ""
        if secagg.n_ref_max == SecaggSection().n_ref_max
        else (
            f"\n[secagg]\nn_ref_max = {secagg.n_ref_max}  # the largest size a device may declare\n"
        )
    )
    return f"""\
# Written by `coordinator plan new` for {wanted.agents} devices with about {wanted.records} records each, from these
# public figures alone. Check it with: coordinator doctor --plan FILE; start it with: coordinator run FILE.
# It costs each device ε {cost.epsilon:.3g} if no round is repeated, at most {training.epsilon:g}; {_fits(cost)}
# docs/configuration.md has every key.

[task]
{_about_task(made)}
options = {{ {options} }}

[training]
steps = {training.steps}  # optimiser steps of one device in one round
sample_rate = {training.sample_rate:g}  # {_about_sampling(training.sample_rate)}
clip_norm = {training.clip_norm:g}  # L2 bound of one record's gradient
learning_rate = {training.learning_rate:g}  # {_about_rate(made)}
epsilon = {training.epsilon:g}  # the most this run may cost a device, repeated rounds included
delta = {training.delta:g}

[rounds]
count = {rounds.count}  # rounds to complete
goal = {rounds.goal}  # devices wanted in a round
minimum = {rounds.minimum}  # fewer make a round abort
spare = {rounds.spare}  # rounds that may be repeated within epsilon
{most}
[evaluation]
# Data that no device holds, on the coordinator's disk; without them nobody knows how good the model is.
{_evaluation(wanted.test, hint)}
"""


def _about_sampling(rate: float) -> str:
    return (
        "every record in every step" if rate == 1 else "of the records, drawn anew for every step"
    )


def _about_rate(made: FirstPlan) -> str:
    if made.wanted.rule.rate is None:
        return "follows from noise, devices and records; make it anew when these change"
    optimizer = _toml(made.plan.training.optimizer)
    return f"of adam, which divides each step by its own size\noptimizer = {optimizer}"


def _about_task(made: FirstPlan) -> str:
    task, about = _toml(made.plan.task.id), made.wanted.rule.about
    if made.wanted.columns:
        return f"""\
id = {task}  # {about}
# Columns by name and unit, as the schema.toml of every device names them; the ranges scale, the same everywhere.
# Labels, and the rows of a window, are what their policy.toml says ([data]), taken from schema.toml when they join."""
    if made.wanted.sound is not None:
        return f"""\
id = {task}  # a linear model on public features of a recording, which suits few devices
# The class names are also the names of the class folders on the devices. Rate and length_ms are what their
# policy.toml says ([data]), taken from the recordings when they join."""
    return f"""\
id = {task}  # {about}{_needs(made.wanted)}
# The class names, in order, are also the names of the class folders on the devices. Height, width and channels
# (1 grey, 3 colours; 1 if not named) are what their policy.toml says ([data]), taken from the data when they join."""


def _needs(wanted: Wanted) -> str:
    if wanted.features != asset.NAME:
        return ""
    return "\n# Its features are those of a frozen network: every device needs " + asset.INSTALL


def _fits(cost: Cost) -> str:
    if cost.runs < 1:
        return f"a budget of ε {cost.budget:g}, a device's default, is too small for it."
    runs = "one such run" if cost.runs == 1 else f"{cost.runs} such runs"
    return f"a budget of ε {cost.budget:g},\n# a device's default, holds {runs}."


def _evaluation(test: Path | None, hint: Path | None) -> str:
    if test is not None:
        return f"data = {_toml(str(test))}"
    return f"# data = {_toml(str(hint or 'test.npz'))}"


def _toml(value: str | int | bool) -> str:
    """A string in JSON's spelling is one of TOML; lone surrogates have none in either."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
