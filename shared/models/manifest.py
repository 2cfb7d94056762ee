"""What a model package says of its model: where it comes from, what it takes and gives, what it cost.

JSON with sorted keys and nothing between its values: equal manifests have equal bytes. All of it is the
coordinator's word, signed by it (docs/models.md, "The file").
"""

import json
import math
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from edgeveil.shared.base.names import SIMULATED
from edgeveil.shared.data.tabular.columns import (
    MOST_COLUMNS,
    Column,
    Ranged,
    SetPoint,
    check_once,
    set_points,
)

SCHEMA = 1
LONGEST_WINDOW = 4096
MOST_LABELS = 1000
MOST_AXES = 4

_Text = Annotated[str, Field(max_length=200)]
_Long = Annotated[str, Field(max_length=2000)]
_Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Count = Annotated[int, Field(ge=0)]
_Size = Annotated[int, Field(ge=1, le=1 << 26)]
_Column = Annotated[str, Field(max_length=260)]
_Row = Annotated[tuple[float, ...], Field(min_length=1, max_length=1 << 12)]
_Rows = Annotated[tuple[_Row, ...], Field(min_length=1, max_length=4)]
MOST_VALUES = 1 << 24  # of one record
MOST_ROWS = 1 << 17  # of a detector
Statistics = Literal["none", "fixed-v1 plain", "fixed-v1 motion", "fixed-v1 forecast"]
# Keys of an input that stand in a manifest only where they say something: packages of before have none.
_LATER = {"signed_log": "", "foretold": ""}


class WrongSchema(ValueError):
    """Of another version of this form; the sentence says which."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def _check_size(shape: tuple[int, ...]) -> None:
    if math.prod(shape) > MOST_VALUES:
        raise ValueError(f"a record has at most {MOST_VALUES} values")


def _check_labels(labels: tuple[str, ...]) -> None:
    if len(set(labels)) != len(labels):
        raise ValueError("a label stands twice")


class Task(_Part):
    """`hash` is that of the code which trained it (protocol.md, "Encodings")."""

    id: _Text
    version: _Text
    hash: _Hash
    options: dict[_Text, _Long | int | bool | float]


class ImageInput(_Part):
    """Pictures (n, height, width), or (n, height, width, 3) in colours: float32 in 0..1.

    What makes such numbers of a picture file is shared/data/pictures.py; the fixed words name its rules.
    "letterbox" keeps the picture's proportions in the middle of grey margins (shared/data/boxes/letterbox.py).
    """

    kind: Literal["image"] = "image"
    name: _Text
    height: _Size
    width: _Size
    channels: Literal[1, 3]
    dtype: Literal["float32"] = "float32"
    range: tuple[Literal[0], Literal[1]] = (0, 1)
    orientation: Literal["exif"] = "exif"
    transparent: Literal["on white"] = "on white"
    resize: Literal["bilinear", "letterbox"] = "bilinear"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        _check_size(self.shape)
        return self

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one record."""
        sides = (self.height, self.width)
        return sides if self.channels == 1 else (*sides, self.channels)


class SoundInput(_Part):
    """Recordings (n, rate · length_ms / 1000): float32 in -1..1, mono.

    What makes such numbers of a sound file is shared/data/sounds/recordings.py; the fixed words name its rules.
    """

    kind: Literal["sound"] = "sound"
    name: _Text
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


class ArrayInput(_Part):
    """Records (n, *shape) of float32, prepared as the task prepares them: nothing is done to them here."""

    kind: Literal["array"] = "array"
    name: _Text
    shape: Annotated[tuple[_Size, ...], Field(min_length=1, max_length=MOST_AXES)]
    dtype: Literal["float32"] = "float32"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        _check_size(self.shape)
        return self


class ColumnsInput(_Part):
    """Rows (n, C), or windows (n, T, C), of values in the units of `columns`, each as `name [unit] low..high`.

    Values beyond a range are cut to it. With `features` 0 the graph takes them as they are; else it takes that
    many fixed public statistics of each window (edgeveil.shared.tasks.sensors.statistics), which no graph holds:
    of a forecast beside the last value of the column `foretold` and the last rows. `signed_log`: set points of
    columns that are scaled by their distance from them, as in plans; whoever scales them needs it with `features`.
    """

    kind: Literal["columns"] = "columns"
    name: _Text
    columns: Annotated[tuple[_Column, ...], Field(min_length=1, max_length=MOST_COLUMNS)]
    window: Annotated[int, Field(ge=0, le=LONGEST_WINDOW)] = 0
    features: Annotated[int, Field(ge=0, le=1 << 20)] = 0
    statistics: Statistics = "none"
    signed_log: Annotated[str, Field(max_length=8192)] = ""
    foretold: Annotated[str, Field(max_length=130)] = ""
    dtype: Literal["float32"] = "float32"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        check_once(each.column for each in self.ranges)
        _check_size(self.record_shape)
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


class MomentInput(_Part):
    """Records (n, values) of several senses of one moment: the pixels of a picture row by row, then the samples of a
    recording, then what the graph takes of a window; a sense that is not there is None. Each is made as its own part says.
    """

    kind: Literal["moment"] = "moment"
    name: _Text
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
        _check_size(self.record_shape)
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


class Output(_Part):
    """(n, labels) logits: the highest is the model's answer, their softmax its scores."""

    kind: Literal["logits"] = "logits"
    name: _Text
    labels: Annotated[tuple[_Text, ...], Field(min_length=2, max_length=MOST_LABELS)]
    scores: Literal["softmax"] = "softmax"

    @model_validator(mode="after")
    def _labels_differ(self) -> Self:
        _check_labels(self.labels)
        return self

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one record."""
        return (len(self.labels),)


class BoxOutput(_Part):
    """(n, rows, 5 + labels): centre, width and height in pixels of the input, logits of an object and of each label.

    A label's score is the product of both sigmoids; what is left of the rows is shared/scores/boxes.py.
    """

    kind: Literal["boxes"] = "boxes"
    name: _Text
    labels: Annotated[tuple[_Text, ...], Field(min_length=1, max_length=MOST_LABELS)]
    rows: Annotated[int, Field(ge=1, le=MOST_ROWS)]
    scores: Literal["product of sigmoids"] = "product of sigmoids"
    suppression: Literal["greedy by label, overlap 0.45, score 0.01, 100 boxes"] = (
        "greedy by label, overlap 0.45, score 0.01, 100 boxes"
    )

    @model_validator(mode="after")
    def _labels_differ(self) -> Self:
        _check_labels(self.labels)
        return self

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one record."""
        return (self.rows, 5 + len(self.labels))


class NumberOutput(_Part):
    """(n, 1): a number in the unit and mostly in the range of `target`, `name [unit] low..high`.

    `ahead`: of a forecast, how many rows after the last one of the window the number is meant to be; else 0.
    """

    kind: Literal["number"] = "number"
    name: _Text
    target: _Column
    ahead: Annotated[int, Field(ge=0, le=LONGEST_WINDOW)] = 0

    @model_validator(mode="after")
    def _has_a_range(self) -> Self:
        Ranged.parse(self.target)
        return self

    @property
    def number(self) -> Ranged:
        return Ranged.parse(self.target)

    @property
    def labels(self) -> tuple[str, ...]:
        return ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one record."""
        return (1,)


class OddOutput(_Part):
    """(n, 1): nats per value by which a record is less likely than a perfect guess; higher is odder.

    `threshold`: of the coordinator's held-out normal records about the share `false_alarms` lies above it; None
    where it had none. A device finds its own on its own records. `normal`: the labels that were learned from.
    """

    kind: Literal["oddness"] = "oddness"
    name: _Text
    unit: Literal["nats per value"] = "nats per value"
    false_alarms: Annotated[float, Field(gt=0, lt=1)]
    threshold: float | None
    normal: Annotated[tuple[_Text, ...], Field(max_length=MOST_LABELS)] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        return ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one record."""
        return (1,)


Given = Output | BoxOutput | NumberOutput | OddOutput


class Origin(_Part):
    """`finished`: when the round was committed, in whole Unix seconds; `agents`: in the sum of each round."""

    run: _Text
    round: _Count
    plan: _Hash
    finished: _Count
    rounds: _Count  # committed up to this one
    fewest_agents: _Count
    most_agents: _Count
    parent: (
        _Hash | None
    )  # SHA-256 of the checkpoint that the run began with, if not the task's own model

    @property
    def simulated(self) -> bool:
        """Whether the devices of its run were made up."""
        return self.run.startswith(SIMULATED)


class Privacy(_Part):
    """As the coordinator reckons it; what an agent really spent stands in its own ledger.

    `epsilon_at_most`: the most that the attempts up to this round can have charged any agent, at `delta`;
    `epsilon_attested`: the most that any agent says of all its runs, None if none tells. None as
    `epsilon_at_most` says that ε is not limited: it, or a model that its run began with, was trained without
    noise. None as `epsilon_planned`: it was.
    """

    unit: Literal["record"] = "record"
    mechanism: _Text
    delta: float
    epsilon_planned: float | None
    epsilon_at_most: float | None
    epsilon_attested: float | Literal["not limited"] | None
    noise_multiplier: float
    sample_rate: float
    clip_norm: float

    @model_validator(mode="after")
    def _nothing_is_promised_without_noise(self) -> Self:
        told = (self.epsilon_planned, self.epsilon_at_most)
        if not self.noise_multiplier > 0 and any(value is not None for value in told):
            raise ValueError("without noise no epsilon is limited")
        return self

    @property
    def said(self) -> str:
        """What a list has room for."""
        if self.epsilon_at_most is None:
            return "trained without noise: no limit on ε"
        return f"ε at most {self.epsilon_at_most:.3g} at δ {self.delta:g}"


class Piece(_Part):
    sha256: _Hash
    size: _Count


class Derived(_Part):
    """Of a model that a device made of another one, and signed: `parent` is the digest of that one's manifest,
    `signer` its signer. `calibrated`: the graph tells of the device's own records, by ranges or fitted weights, so it stays there.
    """

    parent: _Hash
    signer: _Hash
    made: _Text
    calibrated: bool


class Manifest(_Part):
    """`preprocessing` is a sentence about what the graph itself does to its input; `self_test` what the graph
    gives of the records of known_answer.py, a row each, None in packages of before there was one.
    """

    schema_version: Literal[1] = 1
    task: Task
    input: Annotated[Taken, Field(discriminator="kind")]
    preprocessing: _Long
    output: Annotated[Given, Field(discriminator="kind")]
    origin: Origin
    privacy: Privacy
    metrics: dict[_Text, float]  # on the coordinator's own held-out data
    licence: _Text
    software: dict[_Text, _Text]
    model: Piece
    weights: Piece
    self_test: _Rows | None = None
    derived: Derived | None = None  # None of what a coordinator exports

    def encode(self) -> bytes:
        values = self.model_dump(mode="json")
        for later in ("self_test", "derived"):
            if values[later] is None:
                del values[later]
        for key, nothing in _LATER.items():
            if values["input"].get(key) == nothing:
                del values["input"][key]
        return json.dumps(values, sort_keys=True, separators=(",", ":")).encode("ascii")

    @classmethod
    def decode(cls, data: bytes) -> "Manifest":
        """Parse; exactly what encode() writes.

        Raises:
            WrongSchema: of another version.
            ValueError: no manifest, or not in its one spelling.
        """
        try:
            version = _version(json.loads(data))
            if version != SCHEMA:
                raise WrongSchema(
                    f"its manifest has version {version}, this edgeveil reads {SCHEMA}: "
                    f"{'update edgeveil' if version > SCHEMA else 'export the model anew'}"
                )
            found = cls.model_validate_json(data)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ValueError(
                f"its manifest is wrong at {where or 'all'}: {first['msg']}"
            ) from error
        except (ValueError, RecursionError) as error:
            if isinstance(error, WrongSchema):
                raise
            raise ValueError("its manifest is not readable") from error
        if found.encode() != data:
            raise ValueError("its manifest is not in its canonical form")
        return found


def _version(values: Any) -> int:
    found = values.get("schema_version") if isinstance(values, dict) else None
    if type(found) is not int:
        raise ValueError("no version")
    return found
