"""tabular: which class a row of columns belongs to, by logistic regression or a perceptron.

Each column is brought to -1..1 by its range in the plan, and a row to a length of at most one, so that a
small clipping norm cuts nobody short.
"""

import math
from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator
from torch import nn

from edgeveil.shared.tasks import registry
from edgeveil.shared.tasks.modules import zero_linear
from edgeveil.shared.tasks.sensors import networks, tables
from edgeveil.shared.tasks.sensors.classes import ClassTask
from edgeveil.shared.tasks.spec import RawOptions, TaskSpec, parse

PREPROCESSING = {
    "logistic": ", divided by the root of the number of columns, bias 0.3",
    "mlp": "",
}


class TabularOptions(tables.LabelOptions):
    variant: Literal["logistic", "mlp"] = "logistic"
    hidden: int = Field(default=32, ge=2, le=1024)

    @model_validator(mode="after")
    def _model_is_small(self) -> Self:
        sizes = len(self.ranges), self.hidden, len(self.class_names)
        tables.check_size(networks.perceptron_size(*sizes))
        return self

    @property
    def parts(self) -> tuple[str, ...]:
        return ("all", "head") if self.variant == "mlp" else ("all",)


class Tabular(ClassTask):
    spec: TaskSpec = registry.find("tabular", "1.0.0")

    def parse_options(self, raw: RawOptions) -> TabularOptions:
        return parse(TabularOptions, raw, self.spec.id)

    def inputs(self, values: tables.Values, options: TabularOptions) -> tables.Values:
        if options.variant == "mlp":
            return values  # (N, C)
        return tables.with_bias(values / np.float32(math.sqrt(values.shape[1])))  # (N, C + 1)

    def build(self, options: TabularOptions) -> nn.Module:
        columns, classes = len(options.ranges), len(options.class_names)
        if options.variant == "mlp":
            return networks.perceptron(columns, options.hidden, classes, train=options.train)
        return zero_linear(columns + 1, classes, bias=False)

    def signature(self, options: TabularOptions) -> dict[str, object]:
        return {
            "input": {"kind": "table", "columns": options.columns},
            "preprocessing": tables.scaling(options) + PREPROCESSING[options.variant],
            "output": "logits",
            "classes": list(options.class_names),
        }


TASK = Tabular()
