"""[data] of policy.toml: what the owner's records are, whatever a coordinator asks for."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    Strict,
    StringConstraints,
    Tag,
    field_validator,
    model_validator,
)

from edgeveil.shared.base.config import Settings, validate
from edgeveil.shared.data.boxes.schema import LEAST_SIDE, MOST_SIDE, STEP, BoxSchema
from edgeveil.shared.data.kinds import RecordSchema
from edgeveil.shared.data.schema import MOST_LABELS, Schema
from edgeveil.shared.data.sounds.pairs import PairSchema
from edgeveil.shared.data.sounds.schema import LONGEST_MS, SHORTEST_MS, SoundSchema
from edgeveil.shared.data.tabular.columns import MOST_COLUMNS, Column
from edgeveil.shared.data.tabular.layout import LONGEST_WINDOW
from edgeveil.shared.data.tabular.schema import TableSchema
from edgeveil.shared.data.tree import nfc

Whole = Annotated[int, Strict()]
Side = Annotated[Whole, Field(ge=1, le=4096)]
Share = Annotated[float, Strict(), Field(ge=0, le=1)]  # of the records found that must be usable
Label = Annotated[str, Strict(), StringConstraints(min_length=1, max_length=255)]


class DataPolicy(Settings):
    """What the records are, fixed when the device first starts; an offer for anything else is refused."""

    kind: Literal["images"] = "images"
    height: Side
    width: Side
    channels: Literal[1, 3] = 1
    labels: tuple[Label, ...] = Field(min_length=1, max_length=MOST_LABELS)
    usable_min: Share = 0.5

    @field_validator("kind", mode="before")
    @classmethod
    def _is_known(cls, value: object) -> object:
        if value != "images":  # the other kinds have a section of their own
            raise ValueError("one of images, boxes, sounds, pairs, table, windows")
        return value

    @field_validator("labels")
    @classmethod
    def _compared_in_one_form(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(nfc(label) or label for label in value)

    def as_schema(self) -> Schema:
        return Schema(self.kind, (self.height, self.width, self.channels), self.labels)


Length = Annotated[Whole, Field(ge=SHORTEST_MS, le=LONGEST_MS)]


class HeardPolicy(Settings):
    """What records with sound share; `rate` in samples a second."""

    rate: Literal[8000, 11025, 16000, 22050, 24000]
    length_ms: Length
    labels: tuple[Label, ...] = Field(min_length=1, max_length=MOST_LABELS)
    usable_min: Share = 0.5

    @field_validator("labels")
    @classmethod
    def _compared_in_one_form(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(nfc(label) or label for label in value)


class SoundPolicy(HeardPolicy):
    """The same for recordings."""

    kind: Literal["sounds"]

    def as_schema(self) -> SoundSchema:
        return SoundSchema(self.rate, self.length_ms, self.labels)


Named = Annotated[str, Strict(), AfterValidator(lambda text: str(Column.parse(text)))]


class PairPolicy(HeardPolicy):
    """The same for a picture, a recording and a window of one moment; what records do not have is 0, or left out."""

    kind: Literal["pairs"]
    height: Literal[0] | Side = 0
    width: Literal[0] | Side = 0
    channels: Literal[1, 3] = 1
    rate: Literal[0, 8000, 11025, 16000, 22050, 24000] = 0  # type: ignore[assignment]  # 0: none is heard
    length_ms: Literal[0] | Length = 0
    columns: tuple[Named, ...] = Field(default=(), max_length=MOST_COLUMNS)
    window: Annotated[Whole, Field(ge=0, le=LONGEST_WINDOW)] = 0

    @model_validator(mode="after")
    def _two_senses(self) -> Self:
        whole = {
            "height and width": (self.height, self.width),
            "rate and length_ms": (self.rate, self.length_ms),
            "columns and window": (len(self.columns), self.window),
        }
        for name, (first, second) in whole.items():
            if bool(first) != bool(second):
                raise ValueError(f"{name} belong together: give both or neither")
        if sum(bool(first) for first, _ in whole.values()) < 2:
            raise ValueError(f"pairs have two or three of {', '.join(whole)}")
        return self

    def as_schema(self) -> PairSchema:
        picture = (self.height, self.width, self.channels) if self.height else ()
        heard = self.rate, self.length_ms
        return PairSchema(picture, *heard, self.labels, self.columns, self.window)


class TablePolicy(Settings):
    """The same for rows and windows of numbers, whose files a schema.toml describes."""

    kind: Literal["table", "windows"]
    columns: tuple[Named, ...] = Field(min_length=1, max_length=MOST_COLUMNS)
    target: Named | Literal[""] = ""
    window: Annotated[Whole, Field(ge=0, le=LONGEST_WINDOW)] = 0
    step: Annotated[Whole, Field(ge=0, le=LONGEST_WINDOW)] = 0
    labels: tuple[Label, ...] = Field(default=(), max_length=MOST_LABELS)
    usable_min: Share = 0.5

    @field_validator("labels")
    @classmethod
    def _compared_in_one_form(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(nfc(label) or label for label in value)

    @model_validator(mode="after")
    def _windows_have_a_length(self) -> Self:
        if (self.kind == "windows") != (self.window > 1) or bool(self.window) != bool(self.step):
            raise ValueError("windows have window and step, a table has neither")
        return self

    def as_schema(self) -> TableSchema:
        return TableSchema(self.columns, self.labels, self.target, self.window, self.step)


class BoxPolicy(Settings):
    """The same for pictures with boxes, which are brought to a square; `tile` 0 takes them whole."""

    kind: Literal["boxes"]
    side: Annotated[Whole, Field(ge=LEAST_SIDE, le=MOST_SIDE, multiple_of=STEP)]
    labels: tuple[Label, ...] = Field(min_length=1, max_length=MOST_LABELS)
    tile: Literal[0] | Annotated[Whole, Field(ge=LEAST_SIDE, le=8192)] = 0  # pixels of the picture
    difficult: Annotated[bool, Strict()] = False
    usable_min: Share = 0.5

    @field_validator("labels")
    @classmethod
    def _compared_in_one_form(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(nfc(label) or label for label in value)

    def as_schema(self) -> BoxSchema:
        return BoxSchema(self.side, self.labels, self.tile, self.difficult)


def _kind(value: Any) -> str:
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    if kind in {"boxes", "sounds", "pairs"}:
        return f"[{kind}]"
    return "[table]" if kind in {"table", "windows"} else "[images]"


RecordPolicy = Annotated[
    Annotated[DataPolicy, Tag("[images]")]
    | Annotated[BoxPolicy, Tag("[boxes]")]
    | Annotated[SoundPolicy, Tag("[sounds]")]
    | Annotated[PairPolicy, Tag("[pairs]")]
    | Annotated[TablePolicy, Tag("[table]")],
    Discriminator(_kind),
]


def record_policy(schema: RecordSchema) -> RecordPolicy:
    """What a policy says of such records; raises ConfigError for a schema that no policy can hold."""
    if isinstance(schema, BoxSchema):
        pinned = {"kind": schema.kind, "side": schema.side, "labels": schema.labels}
        return validate(pinned, BoxPolicy, source="data")
    if isinstance(schema, SoundSchema):
        heard = {"kind": schema.kind, "rate": schema.rate, "length_ms": schema.length_ms}
        return validate({**heard, "labels": schema.labels}, SoundPolicy, source="data")
    if isinstance(schema, TableSchema):
        names = TablePolicy.model_fields.keys() - {"usable_min"}
        fields = {name: getattr(schema, name) for name in names}
        return validate(fields, TablePolicy, source="data")
    if isinstance(schema, PairSchema):
        sides = dict(zip(("height", "width", "channels"), schema.picture, strict=False))
        heard = {"kind": schema.kind, "rate": schema.rate, "length_ms": schema.length_ms}
        felt = {"columns": schema.columns, "window": schema.window}
        return validate(
            {**sides, **heard, **felt, "labels": schema.labels}, PairPolicy, source="data"
        )
    height, width, channels = schema.shape
    sides = {"height": height, "width": width, "channels": channels}
    return validate({**sides, "labels": schema.labels}, DataPolicy, source="data")
