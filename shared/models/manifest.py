"""What a model package says of its model: where it comes from, what it takes and gives, what it cost.

JSON with sorted keys and nothing between its values: equal manifests have equal bytes. All of it is the
coordinator's word, signed by it (docs/models.md, "The file").
"""

import json
import math
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

SCHEMA = 1
MOST_LABELS = 1000
MOST_AXES = 4

_Text = Annotated[str, Field(max_length=200)]
_Long = Annotated[str, Field(max_length=2000)]
_Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Count = Annotated[int, Field(ge=0)]
_Size = Annotated[int, Field(ge=1, le=1 << 26)]
MOST_VALUES = 1 << 24  # of one record


class WrongSchema(ValueError):
    """Of another version of this form; the sentence says which."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def _check_size(shape: tuple[int, ...]) -> None:
    if math.prod(shape) > MOST_VALUES:
        raise ValueError(f"a record has at most {MOST_VALUES} values")


class Task(_Part):
    """`hash` is that of the code which trained it (protocol.md, "Encodings")."""

    id: _Text
    version: _Text
    hash: _Hash
    options: dict[_Text, _Long | int | bool | float]


class ImageInput(_Part):
    """Pictures (n, height, width), or (n, height, width, 3) in colours: float32 in 0..1.

    What makes such numbers of a picture file is shared/data/pictures.py; the fixed words name its rules.
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
    resize: Literal["bilinear"] = "bilinear"

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


AnyInput = ImageInput | SoundInput | ArrayInput


class Output(_Part):
    """(n, labels) logits: the highest is the model's answer, their softmax its scores."""

    kind: Literal["logits"] = "logits"
    name: _Text
    labels: Annotated[tuple[_Text, ...], Field(min_length=2, max_length=MOST_LABELS)]
    scores: Literal["softmax"] = "softmax"

    @model_validator(mode="after")
    def _labels_differ(self) -> Self:
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("a label stands twice")
        return self


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


class Privacy(_Part):
    """As the coordinator reckons it; what an agent really spent stands in its own ledger.

    `epsilon_at_most`: the most that the attempts up to this round can have charged any agent, at `delta`;
    `epsilon_attested`: the most that any agent says of all its runs, None if none tells.
    """

    unit: Literal["record"] = "record"
    mechanism: _Text
    delta: float
    epsilon_planned: float
    epsilon_at_most: float
    epsilon_attested: float | None
    noise_multiplier: float
    sample_rate: float
    clip_norm: float


class Piece(_Part):
    sha256: _Hash
    size: _Count


class Manifest(_Part):
    """`preprocessing` is a sentence about what the graph itself does to its input."""

    schema_version: Literal[1] = 1
    task: Task
    input: Annotated[AnyInput, Field(discriminator="kind")]
    preprocessing: _Long
    output: Output
    origin: Origin
    privacy: Privacy
    metrics: dict[_Text, float]  # on the coordinator's own held-out data
    licence: _Text
    software: dict[_Text, _Text]
    model: Piece
    weights: Piece

    def encode(self) -> bytes:
        values = self.model_dump(mode="json")
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
