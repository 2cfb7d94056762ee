"""What a manifest says about a run, from its records alone. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from edgeveil.coordinator.records.records import RoundRecord
from edgeveil.coordinator.reports.facts import RunFacts
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.base.installed import installed
from edgeveil.shared.models.given import BoxOutput, Given, NumberOutput, OddOutput, Output
from edgeveil.shared.models.manifest import Manifest, Task
from edgeveil.shared.models.origin import Origin, Piece, Privacy, Sums
from edgeveil.shared.models.taken import (
    ArrayInput,
    ColumnsInput,
    ImageInput,
    MomentInput,
    SoundInput,
    Taken,
)
from edgeveil.shared.privacy.unlimited import NOT_LIMITED, UNLIMITED, in_json
from edgeveil.shared.scores import outliers
from edgeveil.shared.tasks.spec import Options, TaskSpec
from edgeveil.shared.wire.plan import TrainingPlan

NO_MECHANISM = (
    "none: trained without noise, by the word of the devices' owners; sums by secure aggregation"
)
OF_DEVICES = "noise on the whole clipped update of each agent, charged before training; sums by secure aggregation"
MECHANISM = "DP-SGD on each agent, charged before training; sums by secure aggregation"
Rows = tuple[tuple[float, ...], ...]
RECORDS, LOGITS, ROWS = "records", "logits", "rows"


@dataclass(frozen=True)
class Form:
    """What goes in and out: `picture` is (height, width, channels), `sound` its rate and milliseconds; arrays have
    `shape`. `rows` of a detector, 0 for what chooses a label.
    """

    shape: tuple[int, ...]
    picture: tuple[int, int, int] | None
    labels: tuple[str, ...]
    preprocessing: str
    columns: ColumnsInput | None = (
        None  # of a table or a window; `shape` is then what the graph takes
    )
    rows: int = 0
    sound: tuple[int, int] | None = None
    given: NumberOutput | OddOutput | None = None  # else logits or boxes
    moment: MomentInput | None = None


def manifest(
    found: RunFacts,
    record: RoundRecord,
    task: tuple[TaskSpec, Options],
    form: Form,
    pieces: Mapping[str, Piece],
    *,
    answers: Rows,
    licence: str,
    tools: Mapping[str, str],
) -> Manifest:
    """`pieces`: "model" and "weights"; `answers`: what the graph gives of the self-test's records; `tools`: versions of what made the graph."""
    spec, options = task
    return Manifest(
        task=Task(
            id=spec.id,
            version=spec.version,
            hash=spec.task_hash().hex(),
            options=options.model_dump(),
        ),
        input=input_of(form),
        preprocessing=form.preprocessing,
        output=output_of(form, record.extra),
        origin=_origin(found, record),
        privacy=_privacy(found, record),
        metrics={name: float(value) for name, value in sorted(record.metrics.items())},
        licence=licence,
        software={**installed(), **tools},
        model=pieces["model"],
        weights=pieces["weights"],
        self_test=answers,
    )


def check_code(found: RunFacts, record: RoundRecord, spec: TaskSpec) -> None:
    """Raise ConfigError if other code trained the model than would prepare its input now."""
    trained = record.extra.get("task_hash")
    if trained and trained != spec.task_hash().hex():
        raise ConfigError(
            f"round {record.round} of {found.run.run_id} was trained by another build of {spec.id} "
            f"{spec.version}; export it with the edgeveil that trained it"
        )


def input_of(form: Form) -> Taken:
    """The manifest's word on what goes in."""
    if (known := form.columns or form.moment) is not None:
        return known
    if form.sound is not None:
        rate, length_ms = form.sound
        return SoundInput(name=RECORDS, rate=rate, length_ms=length_ms)
    if form.picture is None:
        return ArrayInput(name=RECORDS, shape=form.shape)
    height, width, channels = form.picture
    colours: Literal[1, 3] = 1 if channels == 1 else 3
    return ImageInput(
        name=RECORDS,
        height=height,
        width=width,
        channels=colours,
        resize="letterbox" if form.rows else "bilinear",
    )


def output_of(form: Form, extra: Mapping[str, Any]) -> Given:
    """The manifest's word on what comes out; `extra`: what the round's evaluation has kept."""
    if isinstance(form.given, OddOutput):
        kept = _threshold(extra, form.given.false_alarms)
        return form.given.model_copy(update={"threshold": kept})
    if form.given is not None:
        return form.given
    if form.rows:
        return BoxOutput(name=ROWS, labels=form.labels, rows=form.rows)
    return Output(name=LOGITS, labels=form.labels)


def _threshold(extra: Mapping[str, Any], share: float) -> float | None:
    """Above which about that share of the normal records lies; None where none was counted."""
    found = extra.get(outliers.KEPT)
    if not isinstance(found, dict):
        return None
    counts = np.array(found["counts"], np.int64)
    return outliers.threshold(counts, share) if counts[0].max(initial=0) > 0 else None


def _origin(found: RunFacts, record: RoundRecord) -> Origin:
    sums = [len(row.survived) for row in found.committed if row.round <= record.round]
    return Origin(
        run=found.run.run_id,
        round=record.round,
        plan=found.run.plan_hash,
        finished=int(record.finished),
        rounds=len(sums),
        fewest_agents=min(sums),
        most_agents=max(sums),
        parent=None if found.run.initial is None else found.run.initial.source_sha256,
    )


def _mechanism(proposal: TrainingPlan) -> str:
    if proposal.whole:
        return OF_DEVICES
    return MECHANISM if proposal.noised else NO_MECHANISM


def _privacy(found: RunFacts, record: RoundRecord) -> Privacy:
    proposal = found.proposal
    until = [row for row in found.records if row.round <= record.round]
    so_far = RunFacts(found.run, until, found.told)
    told = [found.told[agent].epsilon for agent in so_far.agents if agent in found.told]
    return Privacy(
        mechanism=_mechanism(proposal),
        delta=found.plan.training.delta,
        epsilon_planned=found.plan.training.epsilon,
        epsilon_at_most=in_json(so_far.most_charged),
        epsilon_attested=NOT_LIMITED if UNLIMITED in told else max(told, default=None),
        noise_multiplier=proposal.noise_multiplier,
        sample_rate=proposal.sample_rate,
        clip_norm=proposal.clip_norm,
        sums=_sums(so_far),
    )


def _sums(found: RunFacts) -> Sums | None:
    two = found.most_of_two
    if two is None or two.honest is None or not found.limited:
        return None
    planned, most = in_json(two.sums_limit), two.sums
    return Sums(honest=two.honest, epsilon_planned=planned, epsilon_at_most=most)
