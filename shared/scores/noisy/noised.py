"""What an evaluation on devices left in a round's record, as tables and as JSON: each figure with its interval."""

from collections.abc import Mapping
from typing import Any

from edgeveil.shared.scores.metric import Scoring
from edgeveil.shared.scores.views import Row, Table, View, Words

KEPT = "evaluation"  # in a round record's extra
_RATIOS = ("precision", "recall", "f1")
_MEANS = {"macro": ("Macro average", "宏平均"), "weighted": ("Weighted average", "加权平均")}
_COLUMNS = ((">Precision", ">精确率"), (">Recall", ">召回率"), ">F1")


def found(extra: Mapping[str, Any]) -> dict[str, Any]:
    """What is told of a measurement with noise; nothing where there was none."""
    told = extra.get(KEPT)
    return told if isinstance(told, dict) and isinstance(told.get("figures"), dict) else {}


def views(extra: Mapping[str, Any], scoring: Scoring) -> tuple[View, ...]:
    """A table of the figures, and one by class where there are classes."""
    told = found(extra)
    if not told:
        return ()
    return (_figures(told, scoring), *_by_class(told))


def summary(extra: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of report.json about it."""
    told = found(extra)
    return {"evaluation_on_devices": told} if told else {}


def interval(extra: Mapping[str, Any], name: str) -> tuple[float, float] | None:
    """The ends between which noise leaves this figure."""
    figure = found(extra).get("figures", {}).get(name)
    return None if figure is None else (float(figure[1]), float(figure[2]))


def _figures(told: Mapping[str, Any], scoring: Scoring) -> Table:
    rows: list[Row] = [
        (metric.title, metric.shown(value), f"{metric.shown(low)} – {metric.shown(high)}")
        for metric in scoring.metrics
        for value, low, high in [told["figures"].get(metric.name, (None,) * 3)]
        if value is not None
    ]
    for name, title in (("records", ("Records", "记录数")), ("boxes", ("Boxes", "框数"))):
        if name in told["figures"]:
            value, low, high = told["figures"][name]
            rows.append((title, f"{value:.0f}", f"{low:.0f} – {high:.0f}"))
    return Table(
        title=("Measured on devices, with noise", "在设备上测得（含噪声）"),
        headings=(("Figure", "指标"), (">Value", ">值"), (">Noise leaves", ">噪声区间")),
        rows=rows,
        note=_note(told),
    )


def _note(told: Mapping[str, Any]) -> Words:
    agents, sure = told["agents"], f"{told['confidence']:.0%}"
    return (
        (
            f"Counts of {agents} devices on records that were not trained on, summed under the masks. The noise of "
            f"the sum is known: it leaves each figure within its interval with {sure}."
        ),
        (
            f"{agents} 台设备在未参与训练的记录上的计数，在掩码下求和。总和的噪声已知："
            f"每个指标以 {sure} 的置信度落在其区间内。"
        ),
    )


def _by_class(told: Mapping[str, Any]) -> tuple[Table, ...]:
    figures = told["figures"]
    labels = [name.removeprefix("f1 of ") for name in figures if name.startswith("f1 of ")]
    if not labels:
        return ()
    rows: list[Row] = [
        (label, *(_cell(figures[f"{name} of {label}"]) for name in _RATIOS), _count(figures[f"support of {label}"]))
        for label in labels
    ]  # fmt: skip
    micro = _cell(figures["accuracy"])
    rows.append((("Micro average", "微平均"), micro, micro, micro, _count(figures["records"])))
    for mean, title in _MEANS.items():
        cells = (_cell(figures[f"{mean}_{name}"]) for name in _RATIOS)
        rows.append((title, *cells, _count(figures["records"])))
    return (
        Table(
            title=("By class, measured on devices", "各类别（在设备上测得）"),
            headings=(("Class", "类别"), *_COLUMNS, (">Records", ">记录数")),
            rows=rows,
            note=("Each figure ± half of what noise leaves.", "每个数值 ± 噪声区间的一半。"),
        ),
    )


def _cell(figure: list[float]) -> str:
    value, low, high = figure
    return f"{value:.3f} ± {(high - low) / 2:.3f}"


def _count(figure: list[float]) -> str:
    value, low, high = figure
    return f"{value:.0f} ± {(high - low) / 2:.0f}"
