"""Tallies that add up, and figures that stand whatever noise has done to them."""

import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from edgeveil.shared.scores.metric import LOSS
from edgeveil.shared.tasks.batches import taken
from edgeveil.shared.tasks.conformance.subject import COUNT, Broken, Subject
from edgeveil.shared.tasks.records import Batch


def _outputs(subject: Subject) -> tuple[Batch, Batch]:
    inputs, targets = subject.drawn()
    with torch.no_grad():
        return subject.moved()(inputs), targets


def adds_its_tally_up(subject: Subject, _folder: Path) -> None:
    task, options = subject.task, subject.options
    outputs, targets = _outputs(subject)
    pooled = task.tally(outputs, targets, options)
    if not isinstance(pooled, np.ndarray) or pooled.dtype != np.int64 or pooled.ndim != 1:
        raise Broken("tally() must give a vector of int64; counts add up without rounding")
    places = [list(range(COUNT))[at::3] for at in range(3)]
    parts = [task.tally(taken(outputs, at), taken(targets, at), options) for at in places]
    if {part.shape for part in parts} != {pooled.shape}:
        raise Broken(
            "tally() has another length for other records; it must depend on options alone"
        )
    if not (pooled == sum(parts)).all():
        raise Broken("the tallies of parts do not add up to that of the whole batch")


def has_figures_in_their_range(subject: Subject, _folder: Path) -> None:
    task, options = subject.task, subject.options
    tally = task.tally(*_outputs(subject), options)
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
