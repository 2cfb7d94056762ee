"""What a model takes: each kind of input, and what makes its numbers of files."""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from edgeveil.shared.data.tabular.columns import (
    MOST_COLUMNS,
    Column,
    Ranged,
    SetPoint,
    check_once,
    set_points,
)
from edgeveil.shared.models.parts import LONGEST_WINDOW, ColumnText, Part, Size, Text, check_size

MOST_AXES = 4
Statistics = Literal["none", "fixed-v1 plain", "fixed-v1 motion", "fixed-v1 forecast"]


class ImageInput(Part):
    """Pictures (n, height, width), or (n, height, width, 3) in colours: float32 in 0..1.

    What makes such numbers of a picture file is shared/data/pictures.py; the fixed words name its rules.
    "letterbox" keeps the picture's proportions in the middle of grey margins (shared/data/boxes/letterbox.py).
    """

    kind: Literal["image"] = "image"
    name: Text
    height: Size
    width: Size
    channels: Literal[1, 3]
    dtype: Literal["float32"] = "float32"
    range: tuple[Literal[0], Literal[1]] = (0, 1)
    orientation: Literal["exif"] = "exif"
    transparent: Literal["on white"] = "on white"
    resize: Literal["bilinear", "letterbox"] = "bilinear"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        check_size(self.shape)
        return self

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one record."""
        sides = (self.height, self.width)
        return sides if self.channels == 1 else (*sides, self.channels)


class SoundInput(Part):
    """Recordings (n, rate · length_ms / 1000): float32 in -1..1, mono.

    What makes such numbers of a sound file is shared/data/sounds/recordings.py; the fixed words name its rules.
    """

    kind: Literal["sound"] = "sound"
    name: Text
    rate: Annotated[int, Field(ge=1000, le=48_000)]
    length_ms: Annotated[int, Field(ge=1, le=60_000)]
    dtype: Literal["float32"] = "float32"
    range: tuple[Literal[-1], Literal[1]] = (-1, 1)
    channels: Literal["averaged"] = "averaged"
    longer: Literal["loudest window"] = "loudest window"
    shorter: Literal["silence around"] = "silence around"

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one record."""
        return (self.rate * self.length_ms // 1000,)


class ArrayInput(Part):
    """Records (n, *shape) of float32, prepared as the task prepares them: nothing is done to them here."""

    kind: Literal["array"] = "array"
    name: Text
    shape: Annotated[tuple[Size, ...], Field(min_length=1, max_length=MOST_AXES)]
    dtype: Literal["float32"] = "float32"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        check_size(self.shape)
        return self


class ColumnsInput(Part):
    """Rows (n, C), or windows (n, T, C), of values in the units of `columns`, each as `name [unit] low..high`.

    Values beyond a range are cut to it. With `features` 0 the graph takes them as they are; else it takes that
    many fixed public statistics of each window (edgeveil.shared.tasks.sensors.statistics), which no graph holds:
    of a forecast beside the last value of the column `foretold` and the last rows. `signed_log`: set points of
    columns that are scaled by their distance from them, as in plans; whoever scales them needs it with `features`.
    """

    kind: Literal["columns"] = "columns"
    name: Text
    columns: Annotated[tuple[ColumnText, ...], Field(min_length=1, max_length=MOST_COLUMNS)]
    window: Annotated[int, Field(ge=0, le=LONGEST_WINDOW)] = 0
    features: Annotated[int, Field(ge=0, le=1 << 20)] = 0
    statistics: Statistics = "none"
    signed_log: Annotated[str, Field(max_length=8192)] = ""
    foretold: Annotated[str, Field(max_length=130)] = ""
    dtype: Literal["float32"] = "float32"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        check_once(each.column for each in self.ranges)
        check_size(self.record_shape)
        if (self.features > 0) != (self.statistics != "none"):
            raise ValueError("features belong to statistics")
        names = [each.column for each in self.ranges]
        if bool(self.foretold) != (self.statistics == "fixed-v1 forecast"):
            raise ValueError("a column is foretold by statistics of a forecast alone")
        if self.foretold and Column.parse(self.foretold) not in names:
            raise ValueError("what is foretold is none of the columns")
        if {each.column for each in self.set_points} - {each.name for each in names}:
            raise ValueError("a set point belongs to none of the columns")
        return self

    @property
    def set_points(self) -> tuple[SetPoint, ...]:
        return set_points(self.signed_log)

    @property
    def ranges(self) -> tuple[Ranged, ...]:
        return tuple(Ranged.parse(each) for each in self.columns)

    @property
    def record_shape(self) -> tuple[int, ...]:
        """Of one record as it lies in a file."""
        count = len(self.columns)
        return (self.window, count) if self.window else (count,)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one record as the graph takes it."""
        return (self.features,) if self.features else self.record_shape


class MomentInput(Part):
    """Records (n, values) of several senses of one moment: the pixels of a picture row by row, then the samples of a
    recording, then what the graph takes of a window; a sense that is not there is None. Each is made as its own part says.
    """

    kind: Literal["moment"] = "moment"
    name: Text
    image: ImageInput | None = None
    sound: SoundInput | None = None
    window: ColumnsInput | None = None
    dtype: Literal["float32"] = "float32"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.parts) < 2:
            raise ValueError("a moment has two senses or more")
        if self.image is not None and self.image.resize != "bilinear":
            raise ValueError("a picture of a moment fills its sides")
        if self.window is not None and not (self.window.window and self.window.features):
            raise ValueError("a window of a moment has rows and statistics")
        check_size(self.record_shape)
        return self

    @property
    def parts(self) -> dict[str, ImageInput | SoundInput | ColumnsInput]:
        """By sense, in their order."""
        each = {"image": self.image, "sound": self.sound, "window": self.window}
        return {sense: part for sense, part in each.items() if part is not None}

    @property
    def record_shape(self) -> tuple[int, ...]:
        """Of one record with the values of a window row by row, in their units."""
        sizes = (part.record_shape if isinstance(part, ColumnsInput) else part.shape for part in self.parts.values())  # fmt: skip
        return (sum(math.prod(size) for size in sizes),)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one record as the graph takes it."""
        return (sum(math.prod(part.shape) for part in self.parts.values()),)


Taken = ImageInput | SoundInput | ArrayInput | ColumnsInput | MomentInput
