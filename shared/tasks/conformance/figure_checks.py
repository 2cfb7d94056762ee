"""Tallies that add up and are bounded, and figures that stand whatever noise has done to them."""

import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from edgeveil.shared.scores.metric import LOSS
from edgeveil.shared.scores.tallies import MOST, Tallies, TallyForm, bounded, summed
from edgeveil.shared.tasks.batches import one
from edgeveil.shared.tasks.conformance.subject import COUNT, PLACE, Broken, Subject, spoiled
from edgeveil.shared.tasks.records import Batch
from edgeveil.shared.tasks.spec import tallied


def _outputs(subject: Subject) -> tuple[Batch, Batch]:
    inputs, targets = subject.drawn()
    with torch.no_grad():
        return subject.moved()(inputs), targets


def adds_its_tally_up(subject: Subject, _folder: Path) -> None:
    outputs, targets = _outputs(subject)
    pooled = _tallies(subject, outputs, targets)
    if pooled.count != COUNT:
        raise Broken(f"tallies() is of {pooled.count} records where the batch has {COUNT}")
    form = subject.task.tally_form(subject.options)
    for at in range(COUNT):
        alone = _tallies(subject, one(outputs, at), one(targets, at))
        mine = pooled.rows == at
        in_company = Tallies(1, 0 * pooled.rows[mine], pooled.cells[mine], pooled.values[mine])
        if not (summed(alone, form) == summed(in_company, form)).all():
            raise Broken(
                "what a record adds to the tally depends on the records of its batch, so tallies do "
                "not add up; count each record alone"
            )


def _tallies(subject: Subject, outputs: Batch, targets: Batch) -> Tallies:
    found = subject.task.tallies(outputs, targets, subject.options)
    if not isinstance(found, Tallies):
        raise Broken(
            f"tallies() gives a {type(found).__name__}; give Tallies (edgeveil.shared.scores.tallies), "
            "for instance Tallies.full(vectors) of int64 (records, cells)"
        )
    return found


def bounds_its_tallies(subject: Subject, _folder: Path) -> None:
    """What is summed is within the bound of any task; a task that declares too little would have cut figures."""
    form = subject.task.tally_form(subject.options)
    outputs, targets = _outputs(subject)
    for each in (outputs, spoiled(outputs, PLACE)):
        found = _tallies(subject, each, targets)
        if (bounded(found, form).squares() > form.most).any():
            raise Broken("a record's tally exceeds its bound after it was cut")
        places = (found.rows, found.count), (found.cells, form.length)
        outside = any(((at < 0) | (at >= most)).any() for at, most in places)
        whole = bounded(found, TallyForm(form.cells, most=MOST))
        if outside or (whole.squares() > form.most).any():
            raise Broken(
                f"a record adds more to the tally than tally_form() declares ({form.length} cells, sum of squares "
                f"at most {form.most}) and is cut to it, so figures would be wrong; declare what a record can add at "
                "most, or count less"
            )


def has_figures_in_their_range(subject: Subject, _folder: Path) -> None:
    task, options = subject.task, subject.options
    tally = tallied(task, *_outputs(subject), options)
    noise = np.random.default_rng(6).integers(-9, 9, tally.shape)
    for each in (tally, tally + noise, np.zeros_like(tally), -np.ones_like(tally)):
        _check_figures(subject, each)
    scoring = task.spec.scoring
    kept = json.loads(json.dumps(task.keep(tally, options)))
    scoring.views(kept)
    if scoring.views({}) != ():
        raise Broken("views() shows something of an evaluation that kept nothing")
    json.dumps(task.signature(options))


def _check_figures(subject: Subject, tally: NDArray[np.int64]) -> None:
    metrics = subject.task.spec.scoring.metrics
    figures = subject.task.metrics(tally, subject.options)
    wanted = {metric.name for metric in metrics} - {LOSS}
    if set(figures) != wanted:
        raise Broken(f"metrics() gives {sorted(figures)}, the scoring names {sorted(wanted)}")
    for metric in metrics:
        value = figures.get(metric.name, 0.0)
        low, high = metric.range
        fits = (low is None or value >= low) and (high is None or value <= high)
        if not np.isfinite(value) or not fits or not metric.shown(value):
            raise Broken(
                f"{metric.name} is {value} for a tally that noise has touched; count what is below zero as "
                f"zero, 0/0 as 0, and stay within {metric.range}"
            )
