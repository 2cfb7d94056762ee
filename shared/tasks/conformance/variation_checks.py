"""Variation in training: what becomes of a record follows from it and its own draws alone."""

from pathlib import Path

import numpy as np

from edgeveil.shared.tasks.augmentation.draws import Draws
from edgeveil.shared.tasks.batches import form, taken
from edgeveil.shared.tasks.conformance.subject import (
    COUNT,
    OTHERS,
    PLACE,
    SEED,
    Broken,
    Subject,
    alike,
    spoiled,
)
from edgeveil.shared.tasks.records import Batch
from edgeveil.shared.tasks.spec import Augmenting

COMPANIES = ([PLACE], [PLACE, 0], [1, PLACE, 7], list(range(COUNT))[::-1])


def varies_each_record_by_itself(subject: Subject, _folder: Path) -> None:
    """Alone, in other company and in another order, and beside a record of NaN."""
    task, (inputs, targets) = subject.task, subject.drawn()
    if not isinstance(task, Augmenting):
        return
    augmenting: Augmenting = task

    def varied(inputs: Batch, targets: Batch, places: list[int]) -> tuple[Batch, Batch]:
        draws = Draws(SEED, np.array(places, np.int64))
        return augmenting.augment(inputs, targets, draws, subject.options)

    whole = varied(inputs, targets, list(range(COUNT)))
    if form(whole) != form((inputs, targets)):
        raise Broken("augment() changes the form of the records")
    for places in COMPANIES:
        found = varied(taken(inputs, places), taken(targets, places), places)
        if not alike(found, taken(whole, places)):
            raise Broken(
                "what augment() makes of a record depends on the others of the batch, so that one record moves "
                "the gradients of several; use the record's own draws alone"
            )
    beside = varied(spoiled(inputs, PLACE), targets, list(range(COUNT)))
    if not alike(taken(beside, OTHERS), taken(whole, OTHERS)):
        raise Broken("a record of NaN changes what augment() makes of others")
