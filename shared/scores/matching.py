"""Which detections are right, counted by class, score and overlap: counts that add up over pictures and devices.

Pictures are matched as COCO does it: the surest detection first, each with the truth that it overlaps most and
that no other has. Truths to be ignored (crowds, difficult ones) are no miss, and what lies on them is no error.
"""

import numpy as np
from numpy.typing import NDArray

from edgeveil.shared.scores.boxes import MOST, Rows, covered, iou
from edgeveil.shared.scores.tallies import TallyForm

THRESHOLDS = np.linspace(0.5, 0.95, 10)  # of the overlap
BINS = 1024  # of the score, equal in its logit between ENDS
ENDS = (0.01, 0.9999)
RIGHT, WRONG = 0, 1

Counts = NDArray[np.int64]


def form(classes: int, truths: int) -> TallyForm:
    """Right and wrong detections of each class by overlap and score, and truths of each class.

    A picture has at most MOST detections, each once at every overlap, and so many truths: in the worst case
    all of them in one cell each.
    """
    cells = (
        ("detections", (classes, len(THRESHOLDS), 2, BINS)),
        ("truths", (classes,)),
    )
    return TallyForm(cells, most=len(THRESHOLDS) * MOST**2 + truths**2)


def parted(tally: Counts, classes: int) -> tuple[Counts, Counts]:
    """Detections (classes, overlaps, 2, BINS) and truths (classes,); what noise made negative counts as 0."""
    counts = np.maximum(tally, 0)
    found = counts[:-classes].reshape(classes, len(THRESHOLDS), 2, BINS)
    return found, counts[-classes:]


def bins(scores: Rows) -> Counts:
    """Places of scores (D,) among BINS."""
    low, high = (np.log(end / (1 - end)) for end in ENDS)
    known = np.clip(scores, *ENDS)
    place = (np.log(known / (1 - known)) - low) / (high - low) * BINS
    return np.asarray(np.minimum(place.astype(np.int64), BINS - 1), np.int64)


def edge(score: float) -> int:
    """The first bin that holds only scores of at least `score`."""
    place = int(bins(np.array([score]))[0])
    return place if place == 0 or score_of(place) >= score - 1e-9 else place + 1


def score_of(place: int) -> float:
    """The lower end of a bin."""
    low, high = (np.log(end / (1 - end)) for end in ENDS)
    return float(1 / (1 + np.exp(-(low + place / BINS * (high - low)))))


def cells(found: Rows, truths: Rows, ignored: NDArray[np.bool_], classes: int) -> Counts:
    """(E,): the cells to each of which one picture adds one.

    `found` (D, 6) as of edgeveil.shared.scores.boxes, `truths` (M, 5): class and corners, `ignored` (M,).
    """
    kinds = truths[:, 0].astype(np.int64)
    counted = [classes * len(THRESHOLDS) * 2 * BINS + kinds[~ignored]]
    for kind in np.unique(found[:, 0]).astype(np.int64).tolist():
        mine = found[found[:, 0] == kind]
        mine = mine[np.argsort(-mine[:, 1], kind="stable")]
        own = kinds == kind
        right, wrong = matched(mine[:, 2:], truths[own, 1:], ignored[own])
        place = bins(mine[:, 1])
        for which, answers in ((RIGHT, right), (WRONG, wrong)):
            at, overlap = np.nonzero(answers)
            counted.append(((kind * len(THRESHOLDS) + overlap) * 2 + which) * BINS + place[at])
    return np.concatenate(counted)


def matched(
    found: Rows, truths: Rows, ignored: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(D, overlaps) each: right, and wrong; what lies on an ignored truth is neither.

    `found` (D, 4), the surest first, and `truths` (M, 4) of one class.
    """
    overlaps = len(THRESHOLDS)
    right = np.zeros((len(found), overlaps), np.bool_)
    wrong = np.zeros_like(right)
    overlap = iou(found, truths[~ignored])
    on_crowd = covered(found, truths[ignored]).max(axis=1, initial=0)
    free = np.ones((overlaps, overlap.shape[1]), np.bool_)
    levels = np.arange(overlaps)
    for at in range(len(found)):
        fits = free & (overlap[at] >= THRESHOLDS[:, None])
        hit = fits.any(axis=1)
        if hit.any():
            best = np.where(fits, overlap[at], -1).argmax(axis=1)
            free[levels[hit], best[hit]] = False
        right[at] = hit
        wrong[at] = ~hit & ~(on_crowd[at] >= THRESHOLDS)
    return right, wrong
