"""The file of a first plan: commented, checked as any other before it is written."""

import json
from collections.abc import Callable
from pathlib import Path

from edgeveil.coordinator.plan.first import (
    COUNT,
    EPSILON,
    RECORDS,
    Cost,
    FirstPlan,
    Wanted,
    epsilon_after,
    first_plan,
)
from edgeveil.coordinator.plan.first_found import (
    boxes_in,
    check_body,
    felt,
    pictures,
    records_of,
    sound,
)
from edgeveil.coordinator.plan.first_rules import FEATURES
from edgeveil.coordinator.plan.plan import Plan
from edgeveil.coordinator.plan.sections import SecaggSection
from edgeveil.shared.base.errors import ConfigError, DataError
from edgeveil.shared.base.files import write_file
from edgeveil.shared.data.boxes.schema import BoxSchema
from edgeveil.shared.data.probe import probe
from edgeveil.shared.data.sounds.pairs import PairSchema
from edgeveil.shared.data.sounds.schema import SoundSchema
from edgeveil.shared.tasks import registry
from edgeveil.shared.tasks.backbone import asset

PATIENCE = 5  # evaluations without gain that the file proposes to end a run after


def write_first_plan(
    file: Path,
    *,
    labels_from: Path | None,
    labels: str | None,
    data: Path | None,
    task: str | None,
    normal: str | None,
    target_column: str | None,
    channels: int | None,
    size: str | None = None,
    features: str | None,
    test: Path | None,
    agents: int,
    records: int | None,
    epsilon: float | None,
    force: bool,
    initial: str | None = None,
    variant: str | None = None,
    honest: int | None = None,
    check: Callable[[Plan], object],
) -> FirstPlan:
    """Write `file` and say what is in it. Imports torch, for the task has the last word.

    `check` raises what keeps the plan from starting, before anything is written. Without `features` it is the frozen
    network for photos in colours where its weights are installed.

    Raises:
        NotInstalled: the network is asked for, and its weights are not here.
        ConfigError: the file is there and not `force`, or what is asked for makes no plan.
        DataError: a named folder cannot be read as data.
    """
    _check_free(file, force=force)
    _check_named(labels_from, data, test and test.expanduser())
    folder = None if labels_from and data else labels_from or data
    found = boxes_in(folder, size) or sound(folder)
    boxed = isinstance(found, BoxSchema)
    named, shape, columns, target = (
        (found.labels, found.shape, "", "") if found else records_of(labels_from, labels, data)
    )
    pixels = (features, channels, None if boxed else size)
    _check_options((initial, variant), pixels, boxed=boxed, others=bool(columns or found))
    if not columns and not found:
        shape, features = pictures(shape, labels_from, size, channels, features)
    wanted = Wanted(
        named,
        shape,
        agents,
        RECORDS if records is None else records,
        EPSILON if epsilon is None else epsilon,
        test and test.expanduser().resolve(),
        columns,
        features or FEATURES,
        task or "",
        target,
        normal or "",
        target_column or "",
        found if isinstance(found, SoundSchema | PairSchema) else None,
        felt(folder, found),
        check_body(initial) if boxed else "",
        variant or "",
        honest,
    )
    if wanted.test is not None:
        probe(wanted.test)
    return _written(file, first_plan(wanted), labels_from or data, check)


def _written(
    file: Path, made: FirstPlan, hint: Path | None, check: Callable[[Plan], object]
) -> FirstPlan:
    _check_task(made)
    check(made.plan)
    write_file(file, text(made, hint and hint.expanduser().resolve()).encode())
    return made


def _check_task(made: FirstPlan) -> None:
    """The task has the last word on its options."""
    asked = made.plan.task
    registry.load(registry.find(asked.id, asked.version)).parse_options(asked.options)


def _check_free(file: Path, *, force: bool) -> None:
    if file.exists() and not force:
        raise ConfigError(
            f"{file}: this file is there already; --force replaces it, -o names another"
        )


def _check_named(labels_from: Path | None, data: Path | None, test: Path | None) -> None:
    """Raise DataError for a folder that is not there."""
    for option, folder in (("--labels-from", labels_from), ("--data", data), ("--test", test)):
        if folder is not None and not folder.exists():
            raise DataError(f"{option} {folder}: there is no such folder")


def _check_options(
    of_boxes: tuple[object, ...], of_pictures: tuple[object, ...], *, boxed: bool, others: bool
) -> None:
    """Raise ConfigError where an option is given that is for another kind of records."""
    if not boxed and any(each is not None for each in of_boxes):
        raise ConfigError("--initial and --variant are for pictures with boxes")
    if others and any(each is not None for each in of_pictures):
        raise ConfigError(
            "--features and --channels are for pictures without boxes"
            if boxed
            else "--features, --channels and --size are for pictures, --data is for columns and recordings"
        )


def text(made: FirstPlan, hint: Path | None = None) -> str:
    """The commented plan.toml; `hint`: a folder that might serve as held-out data."""
    plan, wanted, cost = made.plan, made.wanted, made.cost
    training, rounds, secagg = plan.training, plan.rounds, plan.secagg
    options = ", ".join(f"{key} = {_toml(value)}" for key, value in plan.task.options.items())
    most = (
        ""
        if secagg.n_ref_max == SecaggSection().n_ref_max
        else (
            f"\n[secagg]\nn_ref_max = {secagg.n_ref_max}  # the largest size a device may declare\n"
        )
    )
    return f"""\
# Written by `coordinator plan new` for {wanted.agents} devices with about {wanted.records} records each, from these
# public figures alone. Check it with: coordinator doctor --plan FILE; start it with: coordinator run FILE.
# It costs each device ε {cost.epsilon:.3g} if no round is repeated, at most {training.epsilon:g}; {_fits(cost)}
{_about_sums(made)}{_too_few(made)}# Beside it each data set pays ε {COUNT:g} once, ever, for a noisy count of its records, unless its owner declares
# the size before the first start: agent policy set n_ref=N (free).
# docs/configuration.md has every key.

[task]
{_about_task(made)}
options = {{ {options} }}
{_model(wanted)}
[training]
steps = {training.steps}  # optimiser steps of one device in one round
sample_rate = {training.sample_rate:g}  # {_about_sampling(training.sample_rate)}
clip_norm = {training.clip_norm:g}  # L2 bound of one record's gradient
learning_rate = {training.learning_rate:g}  # {_about_rate(made)}
epsilon = {training.epsilon:g}  # {_about_limit(plan)}
delta = {training.delta:g}
{_privacy(plan)}
[rounds]
count = {rounds.count}  # rounds to complete
goal = {rounds.goal}  # devices wanted in a round
minimum = {rounds.minimum}  # fewer make a round abort
spare = {rounds.spare}  # rounds that may be repeated within epsilon
{most}{_server(made)}
[evaluation]
# Data that no device holds, on the coordinator's disk; without them nobody knows how good the model is.
{_evaluation(made, hint)}
"""


def _model(wanted: Wanted) -> str:
    if not wanted.initial:
        return ""
    return f"""
[model]
initial = {_toml(wanted.initial)}  # public; its variant, width and anchors are this plan's
"""


def _about_limit(plan: Plan) -> str:
    if plan.privacy.honest is None:
        return "the most this run may cost a device, repeated rounds included"
    return "the most an update alone may show, if nothing holds but the device, repeated rounds included"


def _privacy(plan: Plan) -> str:
    shared = plan.privacy
    if shared.honest is None:
        return ""
    return f"""
[privacy]
noise = "shared"  # each device adds 1/√honest of the noise, once, under the masks (docs/privacy.md)
honest = {shared.honest}  # honest devices that every sum is sure to hold
epsilon_sum = {shared.epsilon_sum:g}  # the most that sums may show, repeated rounds included
"""


def _about_sums(made: FirstPlan) -> str:
    shared = made.plan.privacy
    if shared.honest is None:
        return ""
    return f"""\
# Noise in shares: that is what an update alone would show. Sums show ε {made.cost.epsilon_sum:.3g}, at most {shared.epsilon_sum:g}, if at least
# {shared.honest} devices of each are honest and the masks hold. Each owner has to allow it (shared_noise in policy.toml, with
# epsilon_sum_max of {shared.epsilon_sum:g} or more), in a federation whose key is kept offline.
"""


def _server(made: FirstPlan) -> str:
    keys = "".join(f"{key} = {_toml(value)}\n" for key, value in made.rule.server.items())
    return f"\n[server]  # what becomes of the sums costs no budget\n{keys}" if keys else ""


def _about_sampling(rate: float) -> str:
    return (
        "every record in every step" if rate == 1 else "of the records, drawn anew for every step"
    )


def _about_rate(made: FirstPlan) -> str:
    if made.wanted.rule.rate is None:
        return "follows from noise, devices and records; make it anew when these change"
    optimizer = _toml(made.plan.training.optimizer)
    return f"of adam, which divides each step by its own size\noptimizer = {optimizer}"


def _about_task(made: FirstPlan) -> str:
    task, about = _toml(made.plan.task.id), made.wanted.rule.about
    if made.wanted.columns:
        return f"""\
id = {task}  # {about}
# Columns by name and unit, as the schema.toml of every device names them; the ranges scale, the same everywhere.
# Labels, and the rows of a window, are what their policy.toml says ([data]), taken from schema.toml when they join."""
    if isinstance(made.wanted.sound, PairSchema):
        return f"""\
id = {task}  # {about}
# What a record consists of, and the classes, are what the policy.toml of the devices says ([data]), taken from
# records.csv and the files that it names when they join; the ranges of columns scale, the same everywhere."""
    if made.wanted.sound is not None:
        return f"""\
id = {task}  # a linear model on public features of a recording, which suits few devices
# The class names are also the names of the class folders on the devices. Rate and length_ms are what their
# policy.toml says ([data]), taken from the recordings when they join."""
    if made.wanted.initial:
        return f"""\
id = {task}  # {about}
# The class names are those of the categories in the annotations. Size is the side of the square that every device's
# policy.toml says ([data]), taken from its pictures when it joins."""
    return f"""\
id = {task}  # {about}{_needs(made.wanted)}
# The class names, in order, are also the names of the class folders on the devices. Height, width and channels
# (1 grey, 3 colours; 1 if not named) are what their policy.toml says ([data]), taken from the data when they join."""


def _needs(wanted: Wanted) -> str:
    if wanted.features != asset.NAME:
        return ""
    return "\n# Its features are those of a frozen network: every device needs " + asset.INSTALL


def _too_few(made: FirstPlan) -> str:
    said = made.too_few.replace(": ", ":\n# ").replace(". ", ".\n# ")
    return f"# WARNING: {said}.\n" if said else ""


def _fits(cost: Cost) -> str:
    if cost.runs < 1:
        return f"a budget of ε {cost.budget:g}, a device's default, is too small for it."
    runs = "one such run" if cost.runs == 1 else f"{cost.runs} such runs"
    return f"a budget of ε {cost.budget:g},\n# a device's default, holds {runs}."


def _evaluation(made: FirstPlan, hint: Path | None) -> str:
    test = made.wanted.test
    if test is not None:
        return f"data = {_toml(str(test))}\n{_patience(made)}".rstrip()
    return f"# data = {_toml(str(hint or 'test.npz'))}"


def _patience(made: FirstPlan) -> str:
    """Not for a mean over the last rounds, which a run that ends early has not reached."""
    if made.plan.server.average != "none":
        return ""
    soon = epsilon_after(made.plan, made.noise_multiplier, 1 + PATIENCE)
    return f"""\
# Without patience all {made.plan.rounds.count} rounds are run and paid for, however early the data are learned. With it the run
# ends after so many evaluations without gain: at ε {soon:.3g} in place of {made.cost.epsilon:.3g} where the first round is the best.
# patience = {PATIENCE}
"""


def _toml(value: str | int | bool) -> str:
    """A string in JSON's spelling is one of TOML; lone surrogates have none in either."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
