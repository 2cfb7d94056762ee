"""What classification tasks measure and show: accuracy, macro F1, loss; a table by class, a confusion matrix."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgeveil.shared.scores.classification import Counts, Scores, confused, form, scores
from edgeveil.shared.scores.metric import LOSS, MetricSpec, Scoring
from edgeveil.shared.scores.tallies import summed
from edgeveil.shared.scores.views import Matrix, Row, Table, View

KEPT = "confusion"  # in a round record's extra
MOST_CLASSES = 50  # a larger confusion matrix is neither kept nor readable
_CHART = ("Accuracy and macro F1 per round", "每轮准确率与宏平均 F1")
_METRICS = (
    MetricSpec("accuracy", ("Accuracy", "准确率"), True, "%", (0.0, 1.0), _CHART),
    MetricSpec("macro_f1", ("Macro F1", "宏平均 F1"), True, "%", (0.0, 1.0), _CHART),
    MetricSpec(
        LOSS, ("Loss", "损失"), higher_is_better=False, range=(0.0, None),
        chart=("Mean loss per round (nats)", "每轮平均损失（奈特）"),
    ),
)  # fmt: skip
_AVERAGES = {
    "micro": ("Micro average", "微平均"),
    "macro": ("Macro average", "宏平均"),
    "weighted": ("Weighted average", "加权平均"),
}


def kept(counts: Counts, classes: tuple[str, ...]) -> dict[str, Any]:
    """`counts` (K, K) with the names of the classes, for a round's record; nothing for many classes."""
    if len(classes) > MOST_CLASSES:
        return {}
    return {KEPT: {"classes": list(classes), "counts": counts.tolist()}}


class ClassScoring(Scoring):
    def views(self, extra: Mapping[str, Any]) -> tuple[View, ...]:
        found = extra.get(KEPT)
        if not isinstance(found, dict):
            return ()
        return views_of(np.array(found["counts"], np.int64), tuple(found["classes"]))

    def summary(self, extra: Mapping[str, Any]) -> dict[str, Any]:
        """Precision, recall and F1, averaged in three ways."""
        found = extra.get(KEPT)
        if not isinstance(found, dict):
            return {"classification": None}
        return {
            "classification": {
                name: {"precision": values[0], "recall": values[1], "f1": values[2]}
                for name, values in _scores(found).averages().items()
            }
        }


CLASSES = ClassScoring(_METRICS)


def counts_of(predicted: Counts, targets: Counts, labels: tuple[str, ...]) -> Counts:
    """(K, K): how often each true label was given each label."""
    count = len(labels)
    return summed(confused(predicted, targets, count), form(count)).reshape(count, count)


def views_of(counts: Counts, labels: tuple[str, ...]) -> tuple[View, ...]:
    """The table by class of `counts` (K, K), and the matrix itself where it can be read."""
    shown = _table(scores(counts), labels)
    return (shown, _matrix(counts, labels)) if len(labels) <= MOST_CLASSES else (shown,)


def summary(counts: Counts) -> tuple[str, float]:
    """The one figure, 0 to 1, that two models on the same records are compared by, and its name."""
    return "macro F1", scores(counts).macro_f1


def as_json(counts: Counts, labels: tuple[str, ...]) -> dict[str, Any]:
    """All that `counts` (K, K) say, as JSON values."""
    found = scores(counts)
    each = zip(labels, found.precision, found.recall, found.f1, found.support, strict=True)
    return {
        "records": int(counts.sum()),
        "accuracy": found.accuracy,
        "macro_f1": found.macro_f1,
        "weighted_f1": found.weighted_f1,
        "labels": [
            {
                "label": label,
                "precision": float(precision),
                "recall": float(recall),
                "f1": float(f1),
                "support": int(support),
            }
            for label, precision, recall, f1, support in each
        ],
        "confusion": counts.tolist(),
    }


def _matrix(counts: Counts, labels: tuple[str, ...]) -> Matrix:
    return Matrix(
        title=("Confusion matrix", "混淆矩阵"),
        corner=("true \\ predicted", "真实 \\ 预测"),
        labels=labels,
        counts=counts.tolist(),
        note=(
            "Rows: true class; columns: predicted class; the diagonal is framed.",
            "行：真实类别；列：预测类别；对角线加框。",
        ),
    )


def _scores(found: Mapping[str, Any]) -> Scores:
    return scores(np.array(found["counts"], np.int64))


def _table(found: Scores, classes: tuple[str, ...]) -> Table:
    each = (found.precision, found.recall, found.f1)
    rows: list[Row] = [
        (name, *(f"{values[k]:.3f}" for values in each), int(found.support[k]))
        for k, name in enumerate(classes)
    ]
    total = int(found.support.sum())
    averages: list[Row] = [
        (_AVERAGES[name], *(f"{value:.3f}" for value in values), total)
        for name, values in found.averages().items()
    ]
    return Table(
        title=("Precision, recall, F1", "精确率、召回率、F1"),
        headings=(
            ("Class", "类别"),
            (">Precision", ">精确率"),
            (">Recall", ">召回率"),
            ">F1",
            (">Records", ">记录数"),
        ),
        rows=(*rows, *averages),
    )
