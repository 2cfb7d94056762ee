"""What the parts of a manifest are made of: bounded texts, hashes and counts."""

import math
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

LONGEST_WINDOW = 4096
MOST_LABELS = 1000
MOST_VALUES = 1 << 24  # of one record

Text = Annotated[str, Field(max_length=200)]
Long = Annotated[str, Field(max_length=2000)]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]
ColumnText = Annotated[str, Field(max_length=260)]
Size = Annotated[int, Field(ge=1, le=1 << 26)]
Row = Annotated[tuple[float, ...], Field(min_length=1, max_length=1 << 12)]
Rows = Annotated[tuple[Row, ...], Field(min_length=1, max_length=4)]


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def check_size(shape: tuple[int, ...]) -> None:
    if math.prod(shape) > MOST_VALUES:
        raise ValueError(f"a record has at most {MOST_VALUES} values")


def check_labels(labels: tuple[str, ...]) -> None:
    if len(set(labels)) != len(labels):
        raise ValueError("a label stands twice")
