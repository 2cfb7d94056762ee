"""What the records of a first plan are: classes, shape and columns of a folder, or as they were given.

Of tables only schema.toml is read, of pictures their names and a few headers, of boxes the annotations.
"""

import re
from pathlib import Path

from edgeveil.coordinator.plan.first import ON_BOXES, Shape
from edgeveil.coordinator.plan.first_rules import FEATURES, PIXELS, TINY
from edgeveil.coordinator.plan.sections import OF_RUN
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.data.boxes.schema import BoxSchema, holds, infer_boxes
from edgeveil.shared.data.kinds import infer as infer_any
from edgeveil.shared.data.probe import probe
from edgeveil.shared.data.schema import IMAGES, PHOTO, infer
from edgeveil.shared.data.sounds import pair_table, pairs
from edgeveil.shared.data.sounds import schema as sounds
from edgeveil.shared.data.sounds.pairs import PairSchema
from edgeveil.shared.data.sounds.schema import SoundSchema
from edgeveil.shared.data.tabular.columns import Ranged
from edgeveil.shared.data.tabular.layout import ColumnSection, Layout, schema_of
from edgeveil.shared.data.tabular.reading import text_files
from edgeveil.shared.data.tabular.schema import TableSchema
from edgeveil.shared.data.tree import archives
from edgeveil.shared.tasks import registry
from edgeveil.shared.tasks.backbone import asset

_SIDE = re.compile(r"([0-9]{1,4})(?:x\1)?")


def boxes_in(folder: Path | None, size: str | None) -> BoxSchema | None:
    """What the pictures with boxes of a folder are, in squares of `size` if that is named; None for other data.

    Raises:
        ConfigError: a size that is no square.
        DataError: annotations that cannot be read.
    """
    if folder is None or not holds(folder) or schema_of(folder).is_file():
        return None
    found = infer_boxes(folder)
    if size is None:
        return found
    if (side := _SIDE.fullmatch(size.lower())) is None:
        raise ConfigError(
            f"--size {size}: pictures with boxes become squares; write one side, as 128"
        )
    return BoxSchema(int(side[1]), found.labels)


def check_body(initial: str | None) -> str:
    """The public model as a plan names it from any folder; raises ConfigError where none is named or there."""
    if initial is None:
        spec = registry.newest(ON_BOXES)
        told = "" if spec is None else spec.from_scratch.partition(";")[0]
        raise ConfigError(
            f"{told}, so no such plan is written. Two ways out: a public detector, of which the plan trains the "
            "classes alone (--initial FILE; scripts/public_body.py trains and packs one); or, for cameras of one owner "
            "only, the plan without noise in docs/tasks/detection.md"
        )
    if OF_RUN.fullmatch(initial):
        return initial
    file = Path(initial).expanduser().resolve()
    if not file.is_file():
        raise ConfigError(
            f"--initial {initial}: neither a file nor a run; scripts/public_body.py trains and packs a public model"
        )
    return str(file)


def pictures(
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
        return shape, features or (PIXELS if max(shape[:2]) < TINY else FEATURES)
    asset.check_weights()
    return large, features


def sound(folder: Path | None) -> SoundSchema | PairSchema | None:
    """What the recordings, or moments, of a folder are; None where it holds none."""
    if folder is None or not folder.is_dir() or schema_of(folder).is_file():
        return None
    found = infer_any(folder) if sounds.holds(folder) or pair_table.holds(folder) else None
    return found if isinstance(found, SoundSchema | PairSchema) else None


def felt(folder: Path | None, found: object) -> str:
    """The columns of the windows of moments with their ranges."""
    if folder is None or not isinstance(found, PairSchema) or not found.window:
        return ""
    return ", ".join(_ranged(each) for each in pairs.window_layout(folder).features)


def records_of(
    folder: Path | None, labels: str | None, tables: Path | None
) -> tuple[tuple[str, ...], tuple[int, ...], str, str]:
    """Class names, the shape of a record, columns and the target with their ranges, of a folder or as given."""
    if sum(each is not None for each in (folder, labels, tables)) != 1:
        raise ConfigError(
            "give the classes: --labels-from DIR, --labels A,B,… or, for columns, recordings and boxes, --data DIR "
            "(one of the three)"
        )
    if tables is not None:
        return _columns(tables)
    if folder is None:
        return tuple(name.strip() for name in (labels or "").split(",")), (*PHOTO, 1), "", ""
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
