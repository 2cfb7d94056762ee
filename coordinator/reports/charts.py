"""The figures of a run's pages, drawn with shared.pages.charts."""

from collections.abc import Sequence
from itertools import groupby

from edgeveil.coordinator.records.records import RoundRecord
from edgeveil.coordinator.reports.facts import STAGES, RunFacts
from edgeveil.coordinator.reports.words import Words
from edgeveil.shared.pages.charts import (
    DASHES,
    Line,
    bar_key,
    line_chart,
    line_key,
    shown_places,
    stacked_bars,
)
from edgeveil.shared.pages.markup import figure
from edgeveil.shared.scores.metric import MetricSpec
from edgeveil.shared.scores.views import Series, said

MOST_CURVES = 40  # curves that differ, in one chart


def quality_figures(found: RunFacts, words: Words) -> str:
    """One chart for all metrics of the task with the same title; empty when nothing was measured."""
    made = ""
    for title, group in groupby(found.scoring.metrics, key=lambda metric: metric.chart):
        metrics = list(group)
        measured = [(metric.title, *found.metric(metric.name)) for metric in metrics]
        lines = [line for line in series(measured, words) if line.xs]
        if lines:
            key = line_key(lines) if len(metrics) > 1 else ""
            drawn = _quality_chart(metrics[0], lines, words)
            made += figure(said(title or metrics[0].title, words.language), drawn + key)
    return made


def judged_figure(found: RunFacts, metric: MetricSpec | None, words: Words) -> str:
    """The curve of the metric that judges; empty when it was not measured."""
    if metric is None:
        return ""
    lines = [
        line for line in series([(metric.title, *found.metric(metric.name))], words) if line.xs
    ]
    if not lines:
        return ""
    return figure(said(metric.title, words.language), _quality_chart(metric, lines, words))


def _quality_chart(metric: MetricSpec, lines: Sequence[Line], words: Words) -> str:
    share = metric.unit == "%"
    return line_chart(
        lines,
        label=spoken(lines, words("round")),
        across=words("round"),
        unit="%" if share else f" {metric.unit}".rstrip(),
        low=None if share else metric.range[0],
    )


def series(parts: Sequence[Series], words: Words) -> list[Line]:
    """(name, xs, ys) as lines that can be told apart."""
    return [
        Line(said(name, words.language), xs, ys, "two" if place else "one", DASHES[place % 4])
        for place, (name, xs, ys) in enumerate(parts)
    ]


def spoken(lines: Sequence[Line], across: str) -> str:
    """The first and last value of each line, for whoever cannot see it."""
    return "; ".join(
        f"{line.name}: {line.ys[0]:.3g} ({across} {line.xs[0]:g}) – "
        f"{line.ys[-1]:.3g} ({across} {line.xs[-1]:g})"
        for line in lines
        if line.xs
    )


def stage_figure(found: RunFacts, words: Words) -> str:
    names = [words(f"stage_{stage}") for stage in STAGES]
    records = [record for record in found.records if record.stage_seconds]
    heights = [[r.stage_seconds.get(stage, 0.0) for stage in STAGES] for r in records]
    label = f"{words('stages_chart')}: {', '.join(names)}"
    drawn = stacked_bars(
        names, _rounds(records), heights, label=label, across=words("round"), unit=" s"
    )
    return figure(words("stages_chart"), drawn + bar_key(names)) if drawn else ""


def bytes_figure(found: RunFacts, words: Words) -> str:
    xs = _rounds(found.records)
    lines = [
        Line(words("up"), xs, [r.bytes_up / 1e6 for r in found.records]),
        Line(words("down"), xs, [r.bytes_down / 1e6 for r in found.records], "two", DASHES[1]),
    ]
    drawn = line_chart(lines, label=spoken(lines, words("round")), across=words("round"), low=0.0)
    return figure(words("bytes_chart"), drawn + line_key(lines)) if drawn else ""


def spending_figure(found: RunFacts, words: Words) -> str:
    """One step curve per agent that differs, the largest drawn bold, and the plan's limit."""
    kept = shown_places(len(found.records))
    xs = [0.0, *(float(place + 1) for place in kept)]
    curves = {tuple(map(int, paid)) for paid in found.paid[:, kept]}
    most = sorted(curves, key=lambda paid: paid[-1] if paid else 0, reverse=True)[:MOST_CURVES]
    ordered = [[found.epsilon_after(times) for times in paid] for paid in most]
    limit = found.plan.training.epsilon
    lines = [Line("", xs, [0.0, *curve], "thin") for curve in ordered[1:]]
    shown = [Line(words("most_charged"), xs, [0.0, *ordered[0]])] if ordered else []
    shown.append(Line(words("limit"), [xs[0], xs[-1]], [limit, limit], "limit", DASHES[1]))
    label = f"{words('privacy_chart')}. {spoken(shown, words('round'))}"
    drawn = line_chart([*lines, *shown], label=label, across=words("attempts"), low=0.0, high=limit)
    others = [Line(words("each_agent"), xs, xs, "thin")] if lines else []
    return figure(words("privacy_chart"), drawn + line_key([*shown, *others]))


def _rounds(records: Sequence[RoundRecord]) -> list[float]:
    return [float(record.round) for record in records]
