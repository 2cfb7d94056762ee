"""Which counts of a tally a secure sum with noise is taken of: a public linear map of it, with its own bound.

Noise costs the same for every cell, so a sum should hold no more cells than figures need. Of a confusion matrix
(K, K) three counts a class say all that precision, recall and F1 are made of: a record that is right adds one to
`right` of its class, one that is wrong adds one to `missed` of its class and one to `wrong` of the class it was
taken for. That moves the sum by at most √2 in L2, and the noise of a class's F1 comes from three cells instead
of 2K − 1. Of predicted numbers, whose shares of the range are counted in units of 2^-20, the count of records is taken
in the same unit, or noise that hides a share would drown it. Every other tally is summed as it is.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeveil.shared.scores import regression
from edgeveil.shared.scores.tallies import TallyForm

Counts = NDArray[np.int64]
CONFUSION = "confusion"
RIGHT, MISSED, WRONG = "right", "missed", "wrong"  # of each class


@dataclass(frozen=True, slots=True)
class Released:
    """`form` is that of what is summed; `classes` K where it is made of a confusion matrix, else 0; `unit`: how much
    one of the first cell counts in it.
    """

    form: TallyForm
    classes: int = 0
    unit: int = 1

    def of(self, tally: Counts) -> Counts:
        """(form.length,) of a task's own tally."""
        if not self.classes:
            return np.concatenate([tally[:1] * self.unit, tally[1:]])
        matrix = tally.reshape(self.classes, self.classes)
        right = np.diagonal(matrix)
        return np.concatenate([right, matrix.sum(axis=1) - right, matrix.sum(axis=0) - right])


def released(form: TallyForm) -> Released:
    """What is summed of a tally of this form; both sides derive it from the task's options alone."""
    match form.cells:
        case ((name, (rows, columns)),) if name == CONFUSION and rows == columns and form.most == 1:
            names = (RIGHT, MISSED, WRONG)
            return Released(TallyForm(tuple((each, (rows,)) for each in names), most=2), rows)
    if form == regression.FORM:
        unit = regression.UNIT
        return Released(TallyForm(form.cells, most=form.most - 1 + unit**2), unit=unit)
    return Released(form)
