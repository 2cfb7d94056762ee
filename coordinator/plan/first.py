"""A first plan from what is public: how many devices, about how many records each, which classes.

Nothing here looks at a record. The learning rate follows from the noise: after T full-batch steps the
noise in a weight of the mean model has a standard deviation of rate · clip · σ · √T / (n · √N), and
features of length 1 were learned best where that was about REACH: found on grey digits (MNIST), with 3 and 4
devices at ε 1, 2 and 8. For the numbers of the frozen network twice that was best in trials with ten devices,
composed scenes and photos of solar cells, ε 1 to 8. Other pictures were not tried. Statistics of windows and
of recordings have the same length.
"""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgeveil.coordinator.plan.derived import secagg_params, training_plan
from edgeveil.coordinator.plan.plan import Plan
from edgeveil.coordinator.plan.sections import SecaggSection
from edgeveil.shared.base.config import validate
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.data.sounds.schema import SoundSchema
from edgeveil.shared.privacy import rdp
from edgeveil.shared.privacy.counting import affordable_scale, charged
from edgeveil.shared.privacy.filter import cap, choose_order, steps_left

TASK, VARIANT = "feature-head", "fixed"  # learns most where devices are few
ON_SOUNDS = ("audio-command", "statistics")
ON_WINDOWS, ON_ROWS = ("sensor-sequence", "statistics"), ("tabular", "logistic")  # as well
BUDGET, DELTA = 8.0, 1e-5  # what a device allows whose owner says nothing
EPSILON = BUDGET / 4  # so that there is a second run, and a third
RECORDS = 1000  # of one device, when nobody says
LEAST_AGENTS, EVERYBODY, MOST_GOAL = 3, 10, 1000
ROUNDS, SPARE, STEPS, CLIP = 20, 1, 4, 0.1
FEATURES = "orientation"  # the task's own default, which a plan need not name
REACH = {"orientation": 1.4, "blocks": 1.4, "efficientnet-lite0": 2.8}
LEAST_RATE, MOST_RATE = 1e-3, 1000.0

Shape = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Wanted:
    """`shape` is height and width in pixels, and channels; `records` those of one device, about.

    With `columns`, as a plan names them, `shape` is their number, after the rows of a window if there is one;
    with `sound` the samples of a recording.
    """

    labels: tuple[str, ...]
    shape: tuple[int, ...]
    agents: int
    records: int = RECORDS
    epsilon: float = EPSILON
    test: Path | None = None
    columns: str = ""
    features: str = FEATURES
    sound: SoundSchema | None = None


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one run, for each device: ε of all its rounds; how many such runs a usual budget holds."""

    epsilon: float
    budget: float
    runs: int


@dataclass(frozen=True, slots=True)
class FirstPlan:
    wanted: Wanted
    plan: Plan
    noise_multiplier: float
    cost: Cost

    def as_json(self) -> dict[str, Any]:
        rounds, training = self.plan.rounds, self.plan.training
        return {
            "task": f"{self.plan.task.id} {self.plan.task.version}",
            "labels": list(self.wanted.labels),
            "shape": list(self.wanted.shape),
            "features": self.wanted.features,
            "agents": self.wanted.agents,
            "records": self.wanted.records,
            "rounds": rounds.count,
            "goal": rounds.goal,
            "minimum": rounds.minimum,
            "steps": training.steps,
            "sample_rate": training.sample_rate,
            "clip_norm": training.clip_norm,
            "learning_rate": training.learning_rate,
            "epsilon": training.epsilon,
            "delta": training.delta,
            "noise_multiplier": self.noise_multiplier,
            "cost": asdict(self.cost),
        }


def first_plan(wanted: Wanted) -> FirstPlan:
    """Raises ConfigError: too few agents or classes, an impossible ε."""
    if wanted.agents < LEAST_AGENTS:
        raise ConfigError(
            f"--agents {wanted.agents}: a sum of fewer than {LEAST_AGENTS} devices hides nobody; "
            f"invite {LEAST_AGENTS} or more"
        )
    if len(wanted.labels) < 2:
        raise ConfigError("a plan needs two classes or more, such as --labels cat,dog")
    if wanted.features not in REACH:
        raise ConfigError(f"--features {wanted.features}: choose one of {', '.join(REACH)}")
    values = _values(wanted, rate=1.0)
    plan = validate(values, Plan, source="plan")
    try:
        noise = training_plan(plan).noise_multiplier
    except ValueError as error:
        raise ConfigError(f"--epsilon {wanted.epsilon:g}: {error}") from error
    values["training"]["learning_rate"] = _rate(wanted, noise)
    plan = validate(values, Plan, source="plan")
    secagg_params(plan, training_plan(plan), parameters=1)
    return FirstPlan(wanted, plan, noise, _cost(plan, noise))


def _values(wanted: Wanted, *, rate: float) -> dict[str, Any]:
    goal = _goal(wanted.agents)
    return {
        "task": _task(wanted),
        "training": {
            "steps": STEPS,
            "sample_rate": 1.0,
            "clip_norm": CLIP,
            "learning_rate": rate,
            "epsilon": wanted.epsilon,
            "delta": DELTA,
        },
        "rounds": {"count": ROUNDS, "goal": goal, "minimum": _minimum(goal), "spare": SPARE},
        "secagg": {"n_ref_max": _largest(wanted.records)},
        "evaluation": {} if wanted.test is None else {"data": wanted.test},
    }


def _task(wanted: Wanted) -> dict[str, Any]:
    labels = ",".join(wanted.labels)
    if wanted.columns:
        *window, _ = wanted.shape
        task, variant = ON_WINDOWS if window else ON_ROWS
        options = {"variant": variant, "columns": wanted.columns, "labels": labels}
        return {"id": task, "options": options | ({"window": window[0]} if window else {})}
    if wanted.sound is not None:
        task, variant = ON_SOUNDS
        heard = {"rate": wanted.sound.rate, "length_ms": wanted.sound.length_ms}
        return {"id": task, "options": {"variant": variant, "labels": labels, **heard}}
    height, width, channels = wanted.shape
    pictures = {
        "variant": VARIANT,
        "classes": len(wanted.labels),
        "height": height,
        "width": width,
        "labels": labels,
    }
    pictures |= {} if channels == 1 else {"channels": channels}
    pictures |= {} if wanted.features == FEATURES else {"features": wanted.features}
    return {"id": TASK, "options": pictures}


def _goal(agents: int) -> int:
    """Everybody while they are few; of many, so many that some may be away."""
    return agents if agents <= EVERYBODY else min(MOST_GOAL, math.floor(0.8 * agents))


def _minimum(goal: int) -> int:
    """Half of them, and no fewer than what the protocol has parameters for."""
    secagg = SecaggSection()
    least = max(secagg.n_min, math.ceil(goal / 2))
    return next((size for size in range(least, goal) if secagg.feasible(size)), goal)


def _largest(records: int) -> int:
    """The largest size a device may declare: well above what is expected."""
    return max(10_000, int(10 ** math.ceil(math.log10(3 * records))))


def _rate(wanted: Wanted, noise: float) -> float:
    """Two digits of it; who knows the size to one digit needs no more."""
    records = wanted.records * math.sqrt(wanted.agents)
    exact = REACH[wanted.features] * records / (CLIP * noise * math.sqrt(ROUNDS * STEPS))
    return float(f"{min(max(exact, LEAST_RATE), MOST_RATE):.2g}")


def _cost(plan: Plan, noise: float) -> Cost:
    training = plan.training
    steps = training.steps * plan.rounds.count
    spent, _ = rdp.epsilon([rdp.Segment(noise, training.sample_rate, steps)], training.delta)
    order = choose_order(BUDGET, DELTA)
    room = cap(BUDGET, DELTA, order)
    counted = rdp.rdp_total([charged(affordable_scale(room, order))], order)
    step = rdp.rdp_step(noise, training.sample_rate, order)
    return Cost(spent, BUDGET, steps_left(counted, step, room) // steps)
