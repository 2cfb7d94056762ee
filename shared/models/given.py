"""What a model gives: each kind of answer."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from edgeveil.shared.data.tabular.columns import Ranged
from edgeveil.shared.models.parts import (
    LONGEST_WINDOW,
    MOST_LABELS,
    ColumnText,
    Part,
    Text,
    check_labels,
)

MOST_ROWS = 1 << 17  # of a detector


class Output(Part):
    """(n, labels) logits: the highest is the model's answer, their softmax its scores."""

    kind: Literal["logits"] = "logits"
    name: Text
    labels: Annotated[tuple[Text, ...], Field(min_length=2, max_length=MOST_LABELS)]
    scores: Literal["softmax"] = "softmax"

    @model_validator(mode="after")
    def _labels_differ(self) -> Self:
        check_labels(self.labels)
        return self

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one record."""
        return (len(self.labels),)


class BoxOutput(Part):
    """(n, rows, 5 + labels): centre, width and height in pixels of the input, logits of an object and of each label.

    A label's score is the product of both sigmoids; what is left of the rows is shared/scores/boxes.py.
    """

    kind: Literal["boxes"] = "boxes"
    name: Text
    labels: Annotated[tuple[Text, ...], Field(min_length=1, max_length=MOST_LABELS)]
    rows: Annotated[int, Field(ge=1, le=MOST_ROWS)]
    scores: Literal["product of sigmoids"] = "product of sigmoids"
    suppression: Literal["greedy by label, overlap 0.45, score 0.01, 100 boxes"] = (
        "greedy by label, overlap 0.45, score 0.01, 100 boxes"
    )

    @model_validator(mode="after")
    def _labels_differ(self) -> Self:
        check_labels(self.labels)
        return self

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one record."""
        return (self.rows, 5 + len(self.labels))


class NumberOutput(Part):
    """(n, 1): a number in the unit and mostly in the range of `target`, `name [unit] low..high`.

    `ahead`: of a forecast, how many rows after the last one of the window the number is meant to be; else 0.
    """

    kind: Literal["number"] = "number"
    name: Text
    target: ColumnText
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


class OddOutput(Part):
    """(n, 1): nats per value by which a record is less likely than a perfect guess; higher is odder.

    `threshold`: of the coordinator's held-out normal records about the share `false_alarms` lies above it; None
    where it had none. A device finds its own on its own records. `normal`: the labels that were learned from.
    """

    kind: Literal["oddness"] = "oddness"
    name: Text
    unit: Literal["nats per value"] = "nats per value"
    false_alarms: Annotated[float, Field(gt=0, lt=1)]
    threshold: float | None
    normal: Annotated[tuple[Text, ...], Field(max_length=MOST_LABELS)] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        return ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one record."""
        return (1,)


Given = Output | BoxOutput | NumberOutput | OddOutput
