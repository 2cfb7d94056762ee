"""What a task measures, as plain data: whoever compares, draws, prints or exports figures needs no more.

Titles are given in both languages of the pages by the task itself, so that no page knows a figure.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgeveil.shared.scores.views import Text, View, Words

LOSS = "loss"  # the mean of the task's criterion; measured beside the tally, by every task


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """One figure of an evaluation; `name` stands in plans, records and exports.

    `unit`: "%" for a share of one, shown in percent; else what follows the value, "" for nothing.
    `range`: what values there can be, None for no end; an axis begins at a lower end.
    `chart`: the title of its chart; metrics of one title share a chart, and a unit.
    """

    name: str
    title: Words
    higher_is_better: bool
    unit: str = ""
    range: tuple[float | None, float | None] = (None, None)
    chart: Text = ""

    def score(self, value: float) -> float:
        """Higher is better, whatever the metric."""
        return value if self.higher_is_better else -value

    def shown(self, value: float | None) -> str:
        """As people read it; "–" where it was not measured."""
        if value is None:
            return "–"
        if self.unit == "%":
            return f"{value:.1%}"
        return f"{value:.3f} {self.unit}".rstrip()

    def changed(self, before: float, after: float, points: str) -> str:
        """The difference of two values, with its sign; of shares in `points` of a hundred."""
        if self.unit == "%":
            return f"{100 * (after - before):+.1f} {points}"
        return f"{after - before:+.3f} {self.unit}".rstrip()

    @property
    def within(self) -> str:
        """Its English title within a sentence; an abbreviation stays as it is."""
        title = self.title[0]
        return title if title[:2].isupper() else title[:1].lower() + title[1:]


@dataclass(frozen=True)
class Scoring:
    """What a task measures: the first metric is the one shown where there is room for one.

    Free of torch, so that a report needs nothing heavy. `extra` is what Task.keep() left in a round's
    record, among other things; the base class keeps and shows nothing but metrics.
    """

    metrics: tuple[MetricSpec, ...] = ()

    @property
    def headline(self) -> MetricSpec | None:
        return self.metrics[0] if self.metrics else None

    def views(self, extra: Mapping[str, Any]) -> tuple[View, ...]:  # noqa: ARG002  for subclasses
        """Tables, matrices and curves of one evaluation; none where it kept nothing."""
        return ()

    def summary(self, extra: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG002  for subclasses
        """Further keys of report.json about the newest evaluation; also called with nothing kept."""
        return {}
