"""A first plan from what is public: how many devices, about how many records each, which classes or columns.

Nothing here looks at a record.
"""

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from edgeveil.coordinator.plan.derived import secagg_params, training_plan
from edgeveil.coordinator.plan.first_rules import (
    FEATURES,
    PIXELS,
    REACH,
    RULES,
    STEADY,
    Rule,
    fewest_records,
)
from edgeveil.coordinator.plan.first_shared import in_shares
from edgeveil.coordinator.plan.plan import Plan
from edgeveil.coordinator.plan.sections import SecaggSection
from edgeveil.shared.base.config import validate
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.data.sounds.pairs import PairSchema
from edgeveil.shared.data.sounds.schema import SoundSchema
from edgeveil.shared.privacy import rdp
from edgeveil.shared.privacy.counting import LEAST_SCALE, affordable_scale, charged
from edgeveil.shared.privacy.filter import cap, choose_order, steps_left
from edgeveil.shared.wire.roster import MAX_MEMBERS

ON_BOXES = "detection"
ON_SOUNDS, ON_PAIRS = "audio-command", "multimodal"
ON_PICTURES = "feature-head"  # learns most where devices are few
ON_PIXELS = "image-classification"  # of pictures so small that edges tell less than the pixels
ON_WINDOWS, ON_BOTH = ("sensor-sequence", "forecasting"), ("anomaly",)
ON_COLUMNS = (*ON_WINDOWS, "tabular", "rare-classes", "tabular-regression", *ON_BOTH)
BUDGET, DELTA = 8.0, 1e-5  # what a device allows whose owner says nothing
COUNT = 1 / LEAST_SCALE  # ε of the noisy count of a data set whose owner declares no size, at most
EPSILON = BUDGET / 4  # so that there is a second run, and a third
RECORDS = 1000  # of one device, when nobody says
LEAST_AGENTS, EVERYBODY, MOST_GOAL = 3, 10, 1000
WITHOUT_CLASSES = ("anomaly", "forecasting", "tabular-regression")
MOST_RECORDS = 30_000_000  # of one device: three times as many still fit secagg.n_ref_max
SPARE = 1
LEAST_RATE = 1e-3
COUNTED = 3.2  # steps of the first round after which classes are known well enough to be learned

Shape = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Wanted:
    """`shape` is height and width in pixels, and channels; `records` those of one device, about.

    With `columns`, as a plan names them, `shape` is their number, after the rows of a window if there is one;
    with `sound` the numbers of a recording, or of a record of several senses, whose window has `ranges`. `task`
    is the one that suits, where it is empty. `target` has its range, `normal` is of anomaly, `ahead` the column of
    forecasting. With boxes, `initial` is the public model whose classes are trained, `variant` the network where
    the usual one is not meant. With `honest`, of whom every sum is sure, noise is added in shares and `epsilon`
    is that of sums.
    """

    labels: tuple[str, ...]
    shape: tuple[int, ...]
    agents: int
    records: int = RECORDS
    epsilon: float = EPSILON
    test: Path | None = None
    columns: str = ""
    features: str = FEATURES
    task: str = ""
    target: str = ""
    normal: str = ""
    ahead: str = ""
    sound: SoundSchema | PairSchema | None = None
    ranges: str = ""
    initial: str = ""
    variant: str = ""
    honest: int | None = None

    @property
    def chosen(self) -> str:
        """The task that is asked for, or else what the records are decides."""
        if self.task or not self.columns:
            return self.task or self.usual
        if self.labels:
            return "sensor-sequence" if len(self.shape) > 1 else "tabular"
        return "tabular-regression" if self.target else "anomaly"

    @property
    def usual(self) -> str:
        """The one task for records without columns of their own."""
        if self.initial:
            return ON_BOXES
        if isinstance(self.sound, PairSchema):
            return ON_PAIRS
        if self.sound is not None:
            return ON_SOUNDS
        return ON_PIXELS if self.features == PIXELS else ON_PICTURES

    @property
    def rule(self) -> Rule:
        rule = RULES[self.chosen]
        return replace(rule, reach=REACH[self.features]) if self.chosen == ON_PICTURES else rule


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one run, for each device: ε of all its rounds; how many such runs a usual budget holds.

    `epsilon` holds towards everybody, `epsilon_sum` towards whoever sees only sums: the same unless noise is in shares.
    """

    epsilon: float
    epsilon_sum: float
    budget: float
    runs: int


@dataclass(frozen=True, slots=True)
class FirstPlan:
    wanted: Wanted
    plan: Plan
    noise_multiplier: float
    cost: Cost
    rule: Rule  # of the task, or that for many records

    @property
    def too_few(self) -> str:
        """A warning where the noise outweighs what the records can add (first_rules), else ""."""
        wanted = self.wanted
        given = (self.noise_multiplier, wanted.agents, len(wanted.labels))
        fewest = fewest_records(self.rule, *given)
        if wanted.records >= fewest:
            return ""
        return (
            f"{wanted.records} records on each device are too few: in every step there is more noise than all "
            f"records of a class can add. {fewest:,} or more each would do, or more devices, fewer classes, a larger ε"
        )

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
            "noise": self.plan.privacy.noise,
            "honest": self.plan.privacy.honest,
            "epsilon_sum": self.plan.privacy.epsilon_sum or training.epsilon,
            "delta": training.delta,
            "noise_multiplier": self.noise_multiplier,
            "cost": asdict(self.cost),
            "too_few_records": self.too_few,
        }


def first_plan(wanted: Wanted) -> FirstPlan:
    """Raises ConfigError: too few agents or classes, an impossible ε."""
    if wanted.agents < LEAST_AGENTS:
        raise ConfigError(
            f"--agents {wanted.agents}: a sum of fewer than {LEAST_AGENTS} devices hides nobody; "
            f"invite {LEAST_AGENTS} or more"
        )
    for option, given, most in (
        ("--agents", wanted.agents, MAX_MEMBERS),
        ("--records", wanted.records, MOST_RECORDS),
    ):
        if given > most:
            raise ConfigError(f"{option} {given}: at most {most:,}")
    _check_task(wanted)
    if wanted.features not in REACH:
        raise ConfigError(f"--features {wanted.features}: choose one of {', '.join(REACH)}")
    rule = wanted.rule
    values, noise = _planned(wanted, rule)
    if _is_large(wanted, rule, _exact(wanted, rule, noise, values)):
        rule = rule.large
        values, noise = _planned(wanted, rule)
    values["training"]["learning_rate"] = rate = _rate(wanted, rule, noise, values)
    if wanted.chosen == "rare-classes":
        counted = {"clip": round(1000 * rule.clip), "count_first": round(COUNTED * rate)}
        values["task"]["options"] |= counted
    plan = validate(values, Plan, source="plan")
    secagg_params(plan, training_plan(plan), parameters=1)
    return FirstPlan(wanted, plan, noise, _cost(plan, noise), rule)


def _check_task(wanted: Wanted) -> None:
    """What the chosen task needs has to be there; raises ConfigError with the option that gives it."""
    chosen, windows = wanted.chosen, len(wanted.shape) > 1
    allowed = ON_COLUMNS if wanted.columns else (wanted.usual,)
    if chosen not in allowed:
        raise ConfigError(f"--task {chosen}: for these records choose one of {', '.join(allowed)}")
    if wanted.columns and windows != (chosen in ON_WINDOWS) and chosen not in ON_BOTH:
        held, other = ("windows", "rows") if windows else ("rows", "windows")
        raise ConfigError(f"--task {chosen} takes {other}, and schema.toml describes {held}")
    _check_classes(wanted)
    if bool(wanted.ahead) != (chosen == "forecasting"):
        raise ConfigError(
            "--task forecasting and --target NAME belong together: the column whose next value is learned"
        )
    if chosen == "tabular-regression" and not wanted.target:
        raise ConfigError('--task tabular-regression: no column of schema.toml has role = "target"')


def _check_classes(wanted: Wanted) -> None:
    """Those to tell apart, or those that are normal; raises ConfigError."""
    chosen = wanted.chosen
    if wanted.normal and chosen != "anomaly":
        raise ConfigError(f"--normal is for anomaly, not for {chosen}")
    if unknown := set(wanted.normal.split(",")) - {"", *wanted.labels}:
        raise ConfigError(f"--normal {min(unknown)}: no class of schema.toml")
    if chosen == "anomaly" and wanted.labels and not wanted.normal:
        raise ConfigError(
            f"--task anomaly: say which of {', '.join(wanted.labels)} are normal, such as "
            f"--normal {wanted.labels[0]}"
        )
    if chosen not in (*WITHOUT_CLASSES, ON_BOXES) and len(wanted.labels) < 2:
        raise ConfigError("a plan needs two classes or more, such as --labels cat,dog")


def _planned(wanted: Wanted, rule: Rule) -> tuple[dict[str, Any], float]:
    """What a plan by this rule holds, its rate still open, and its noise multiplier; raises ConfigError."""
    values = _values(wanted, rule, rate=1.0)
    plan = validate(values, Plan, source="plan")
    if wanted.honest is not None:
        values = in_shares(values, plan, wanted.honest)
        plan = validate(values, Plan, source="plan")
    try:
        return values, training_plan(plan).noise_multiplier
    except ValueError as error:
        raise ConfigError(f"--epsilon {wanted.epsilon:g}: {error}") from error


def _values(wanted: Wanted, rule: Rule, *, rate: float) -> dict[str, Any]:
    goal = _goal(wanted.agents)
    return {
        "task": _task(wanted),
        "training": {
            "steps": rule.steps,
            "sample_rate": rule.sample_rate,
            "clip_norm": rule.clip,
            "learning_rate": rate,
            "optimizer": rule.optimizer,
            "epsilon": wanted.epsilon,
            "delta": DELTA,
        },
        "rounds": {"count": rule.rounds, "goal": goal, "minimum": _minimum(goal), "spare": SPARE},
        "secagg": {"n_ref_max": _largest(wanted.records)},
        "evaluation": {} if wanted.test is None else {"data": wanted.test},
        "model": {"initial": wanted.initial} if wanted.initial else {},
        "server": dict(rule.server),
    }


def _task(wanted: Wanted) -> dict[str, Any]:
    labels = ",".join(wanted.labels)
    if wanted.columns:
        return {"id": wanted.chosen, "options": _of_columns(wanted, labels)}
    if wanted.sound is not None:
        options = {"variant": wanted.rule.variant, "labels": labels, **_of_sound(wanted)}
        return {"id": wanted.chosen, "options": options}
    if wanted.initial:
        boxes = {"labels": labels, "size": wanted.shape[0], "train": "classes"}
        options = {"variant": wanted.variant or wanted.rule.variant, **boxes}
        return {"id": wanted.chosen, "options": options}
    height, width, channels = wanted.shape
    pictures = {
        "variant": wanted.rule.variant,
        "classes": len(wanted.labels),
        "height": height,
        "width": width,
        "labels": labels,
    }
    pictures |= {} if channels == 1 else {"channels": channels}
    pictures |= {} if wanted.features in (FEATURES, PIXELS) else {"features": wanted.features}
    return {"id": wanted.chosen, "options": pictures}


def _of_sound(wanted: Wanted) -> dict[str, Any]:
    """Of recordings alone, or of each sense that is there."""
    found = wanted.sound
    heard = {"rate": found.rate, "length_ms": found.length_ms} if found and found.rate else {}
    if not isinstance(found, PairSchema):
        return heard
    seen = dict(zip(("height", "width", "channels"), found.picture, strict=False))
    felt = {"columns": wanted.ranges, "window": found.window} if found.window else {}
    return {"senses": ",".join(found.senses), **seen, **heard, **felt}


def _of_columns(wanted: Wanted, labels: str) -> dict[str, Any]:
    *window, _ = wanted.shape
    options: dict[str, Any] = {"variant": wanted.rule.variant, "columns": wanted.columns}
    match wanted.chosen:
        case "tabular-regression":
            options["target"] = wanted.target
        case "forecasting":
            options["target"] = wanted.ahead
        case "anomaly":
            options |= {"normal": wanted.normal} if wanted.normal else {}
        case _:
            options["labels"] = labels
    return options | ({"window": window[0]} if window else {})


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


def _rate(wanted: Wanted, rule: Rule, noise: float, values: dict[str, Any]) -> float:
    """Two digits of it; who knows the size to one digit needs no more."""
    if rule.rate is not None:
        return rule.rate
    exact = _exact(wanted, rule, noise, values)
    return float(f"{min(max(exact, LEAST_RATE), rule.most_rate):.2g}")


def _exact(wanted: Wanted, rule: Rule, noise: float, values: dict[str, Any]) -> float:
    """The rate that reaches as far as the rule has it (first_rules)."""
    records = wanted.records * math.sqrt(wanted.agents)
    steps = values["rounds"]["count"] * values["training"]["steps"]
    return rule.reach * records / (rule.clip * noise * math.sqrt(steps))


def _is_large(wanted: Wanted, rule: Rule, exact: float) -> bool:
    """Whether the plan for many records is tried to be better; with noise in shares it was not tried."""
    steady = rule.grows and wanted.features in STEADY and wanted.honest is None
    return steady and exact > rule.most_rate


def epsilon_after(plan: Plan, noise: float, rounds: int) -> float:
    """What so many rounds cost each device, none of them repeated."""
    training = plan.training
    steps = training.steps * rounds
    return rdp.epsilon([rdp.Segment(noise, training.sample_rate, steps)], training.delta)[0]


def _cost(plan: Plan, noise: float) -> Cost:
    training = plan.training
    steps = training.steps * plan.rounds.count
    spent = epsilon_after(plan, noise, plan.rounds.count)
    of_sums = noise * math.sqrt(plan.privacy.honest or 1)
    summed = epsilon_after(plan, of_sums, plan.rounds.count)
    order = choose_order(BUDGET, DELTA)
    room = cap(BUDGET, DELTA, order)
    counted = rdp.rdp_total([charged(affordable_scale(room, order))], order)
    step = rdp.rdp_step(noise, training.sample_rate, order)
    return Cost(spent, summed, BUDGET, steps_left(counted, step, room) // steps)
