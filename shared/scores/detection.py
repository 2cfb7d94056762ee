"""What detectors measure and show: mean average precision, and precision, recall, F1 above a score.

Average precision is that of COCO: precision at 101 recalls, each the best that this recall or a higher one has.
It comes from counts by bins of the score; within a bin right and wrong detections are taken as mixed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeveil.shared.scores.matching import RIGHT, WRONG, Counts, edge, parted
from edgeveil.shared.scores.metric import LOSS, MetricSpec, Scoring
from edgeveil.shared.scores.views import Row, Table, View

KEPT = "detection"  # in a round record's extra
MOST_CLASSES = 100  # of more no table is kept
RECALLS = np.linspace(0, 1, 101)
SHOWN_AT = 0.3  # the score above which precision, recall and F1 are told
SCORES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
MOST_STEPS = 1 << 16  # of a curve of precision
_CHART = ("Mean average precision per round", "每轮平均精度均值")
_F1_CHART = (f"F1 at score {SHOWN_AT} per round", f"每轮 F1（置信度 {SHOWN_AT}）")
_METRICS = (
    MetricSpec("map50", ("mAP@0.5", "mAP@0.5"), True, "%", (0.0, 1.0), _CHART),
    MetricSpec("map", ("mAP@0.5:0.95", "mAP@0.5:0.95"), True, "%", (0.0, 1.0), _CHART),
    MetricSpec("micro_f1", (f"F1 of all boxes at score {SHOWN_AT}", f"全部框的 F1（置信度 {SHOWN_AT}）"), True, "%", (0.0, 1.0), _F1_CHART),
    MetricSpec("macro_f1", (f"Macro F1 at score {SHOWN_AT}", f"宏平均 F1（置信度 {SHOWN_AT}）"), True, "%", (0.0, 1.0), _F1_CHART),
    MetricSpec(
        LOSS, ("Loss", "损失"), higher_is_better=False, range=(0.0, None),
        chart=("Mean loss per round", "每轮平均损失"),
    ),
)  # fmt: skip

Ratios = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class DetectionScores:
    """Per class (K,): average precision at overlap .5 and over all, truths, and right and wrong boxes
    (SCORES, K) of at least each of SCORES at overlap .5.
    """

    ap50: Ratios
    ap: Ratios
    truths: Counts
    right: Counts
    wrong: Counts

    @property
    def known(self) -> NDArray[np.bool_]:
        """Classes of which there is a truth; the others count in no mean."""
        return self.truths > 0

    def figures(self) -> dict[str, float]:
        at = SCORES.index(SHOWN_AT)
        averages = self.averages(at)
        return {
            "map50": _mean(self.ap50, self.known),
            "map": _mean(self.ap, self.known),
            "micro_f1": averages["micro"][2],
            "macro_f1": averages["macro"][2],
        }

    def per_class(self, at: int) -> tuple[Ratios, Ratios, Ratios]:
        """Precision, recall and F1 (K,) each, at least SCORES[at] sure; 0/0 counts as 0."""
        return _ratios(self.right[at], self.wrong[at], self.truths)

    def averages(self, at: int) -> dict[str, tuple[float, float, float]]:
        """(precision, recall, F1): micro counts boxes, macro classes, weighted classes by their truths."""
        sums = (np.array([each.sum()]) for each in (self.right[at], self.wrong[at], self.truths))
        micro = _ratios(*sums)
        each = self.per_class(at)
        total = max(1, int(self.truths.sum()))
        macro = [_mean(values, self.known) for values in each]
        weighted = [float((values * self.truths).sum() / total) for values in each]
        return {
            "micro": (float(micro[0][0]), float(micro[1][0]), float(micro[2][0])),
            "macro": (macro[0], macro[1], macro[2]),
            "weighted": (weighted[0], weighted[1], weighted[2]),
        }


def scores(tally: Counts, classes: int) -> DetectionScores:
    found, truths = parted(tally, classes)
    ap = np.array([[_precision(each, int(most)) for each in kind] for kind, most in zip(found, truths, strict=True)])  # fmt: skip
    above = [found[:, 0, :, edge(score) :].sum(axis=2) for score in SCORES]  # (K, 2) each
    right = np.stack([each[:, RIGHT] for each in above])
    wrong = np.stack([each[:, WRONG] for each in above])
    return DetectionScores(ap[:, 0], ap.mean(axis=1), truths, np.minimum(right, truths), wrong)


def _precision(found: Counts, truths: int) -> float:
    """Average precision of counts (2, BINS); 0 without truths."""
    right, wrong = found[RIGHT, ::-1], found[WRONG, ::-1]
    total = min(int(right.sum()), truths)
    if total <= 0:
        return 0.0
    steps = np.unique(np.linspace(1, total, min(total, MOST_STEPS)).round().astype(np.int64))
    after, false = right.cumsum(), wrong.cumsum()
    at = np.searchsorted(after, steps)  # the bin in which the k-th right one lies
    into = steps - (after[at] - right[at])
    before = false[at] - wrong[at] + wrong[at] * into / (right[at] + 1)
    best = np.maximum.accumulate((steps / (steps + before))[::-1])[::-1]
    needed = np.maximum(1, np.ceil(RECALLS * truths - 1e-9)).astype(np.int64)
    place = np.searchsorted(steps, needed)
    return float(np.where(place < len(steps), best[np.minimum(place, len(steps) - 1)], 0).mean())


def _ratios(right: Counts, wrong: Counts, truths: Counts) -> tuple[Ratios, Ratios, Ratios]:
    return (
        _ratio(right, right + wrong),
        _ratio(right, truths),
        _ratio(2 * right, right + wrong + truths),
    )


def _ratio(part: Counts, whole: Counts) -> Ratios:
    return np.where(whole > 0, part / np.maximum(whole, 1), 0.0)


def _mean(values: Ratios, known: NDArray[np.bool_]) -> float:
    return float(values[known].mean()) if known.any() else 0.0


def kept(tally: Counts, classes: tuple[str, ...]) -> dict[str, Any]:
    """For a round's record; nothing for many classes."""
    if len(classes) > MOST_CLASSES:
        return {}
    found = scores(tally, len(classes))
    return {
        KEPT: {
            "classes": list(classes),
            "ap50": found.ap50.tolist(),
            "ap": found.ap.tolist(),
            "truths": found.truths.tolist(),
            "right": found.right.tolist(),
            "wrong": found.wrong.tolist(),
        }
    }


class DetectionScoring(Scoring):
    def views(self, extra: Mapping[str, Any]) -> tuple[View, ...]:
        found = extra.get(KEPT)
        if not isinstance(found, dict):
            return ()
        return views_of(_again(found), tuple(found["classes"]))

    def summary(self, extra: Mapping[str, Any]) -> dict[str, Any]:
        """Average precision of each class, and the three averages at SHOWN_AT."""
        found = extra.get(KEPT)
        if not isinstance(found, dict):
            return {"detection": None}
        return {"detection": as_json(_again(found), tuple(found["classes"]))}


DETECTION = DetectionScoring(_METRICS)


def views_of(found: DetectionScores, labels: tuple[str, ...]) -> tuple[View, ...]:
    """A table by class, and one by score."""
    return _by_class(found, labels), _by_score(found)


def as_json(found: DetectionScores, labels: tuple[str, ...]) -> dict[str, Any]:
    at = SCORES.index(SHOWN_AT)
    precision, recall, f1 = found.per_class(at)
    return {
        "boxes": int(found.truths.sum()),
        **found.figures(),
        "score": SHOWN_AT,
        "averages": {
            name: {"precision": values[0], "recall": values[1], "f1": values[2]}
            for name, values in found.averages(at).items()
        },
        "labels": [
            {
                "label": label,
                "ap50": float(found.ap50[k]),
                "ap": float(found.ap[k]),
                "precision": float(precision[k]),
                "recall": float(recall[k]),
                "f1": float(f1[k]),
                "support": int(found.truths[k]),
            }
            for k, label in enumerate(labels)
        ],
    }


def _again(found: Mapping[str, Any]) -> DetectionScores:
    counts = (np.array(found[name], np.int64) for name in ("truths", "right", "wrong"))
    return DetectionScores(np.array(found["ap50"]), np.array(found["ap"]), *counts)


_AVERAGES = {
    "micro": ("All boxes", "全部框"),
    "macro": ("Macro average", "宏平均"),
    "weighted": ("Weighted average", "加权平均"),
}
_RATIOS = ((">Precision", ">精确率"), (">Recall", ">召回率"), ">F1")


def _by_class(found: DetectionScores, labels: tuple[str, ...]) -> Table:
    at = SCORES.index(SHOWN_AT)
    each = (found.ap50, found.ap, *found.per_class(at))
    rows: list[Row] = [
        (name, *(f"{values[k]:.3f}" for values in each), int(found.truths[k]))
        for k, name in enumerate(labels)
    ]
    means = {
        "macro": (_mean(found.ap50, found.known), _mean(found.ap, found.known)),
        "weighted": tuple(
            float((values * found.truths).sum() / max(1, int(found.truths.sum())))
            for values in (found.ap50, found.ap)
        ),
    }
    for name, values in found.averages(at).items():
        shown = [f"{value:.3f}" for value in means[name]] if name in means else ["–", "–"]
        ratios = [f"{value:.3f}" for value in values]
        rows.append((_AVERAGES[name], *shown, *ratios, int(found.truths.sum())))
    return Table(
        title=("Boxes found, by class", "各类别的检出情况"),
        headings=(("Class", "类别"), ">AP@0.5", ">AP@0.5:0.95", *_RATIOS, (">Boxes", ">框数")),
        rows=rows,
        note=(
            f"Precision, recall and F1 of boxes with a score of at least {SHOWN_AT} that overlap a true one by half.",
            f"精确率、召回率和 F1：置信度不低于 {SHOWN_AT}，与真实框重叠至少一半。",
        ),
    )


def _by_score(found: DetectionScores) -> Table:
    rows: list[Row] = [
        (f"{score:.1f}", *(f"{value:.3f}" for value in found.averages(at)["micro"]))
        for at, score in enumerate(SCORES)
    ]
    return Table(
        title=("What a threshold would do", "阈值的效果"),
        headings=(("Score at least", "置信度不低于"), *_RATIOS),
        rows=rows,
    )
