"""space.toml: which keys of a plan are tried, and within which ends (docs/tuning.md).

What a budget is, and whom it is for, is no setting: ε, δ and rounds stay as the plan has them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, Strict, ValidationError, model_validator

from edgeveil.coordinator.plan.plan import Plan
from edgeveil.coordinator.plan.plan_file import budget_fault, option_faults
from edgeveil.coordinator.plan.sections import ServerSection, TrainingSection
from edgeveil.shared.base.config import Settings, load, mistakes
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.base.names import meant
from edgeveil.shared.tasks import registry

MOST_AXES, MOST_CHOICES = 16, 50
TRAINING = (
    "average", "clip_norm", "learning_rate", "momentum", "optimizer", "proximal", "sample_rate", "steps",
)  # fmt: skip
SERVER = tuple(name for name in ServerSection.model_fields if name not in {"robust", "trim"})
DECIDED = {"epsilon", "delta", "privacy"}  # by whoever answers for the devices
DIGITS = 4  # of a value that is tried: more would be read by nobody

Whole = Annotated[int, Strict()]
Number = Whole | Annotated[float, Strict()]
Value = Annotated[bool, Strict()] | Number | Annotated[str, Strict(), Field(max_length=1000)]
Values = Mapping[str, Any]  # dotted keys of a plan → what they are set to


class Axis(Settings):
    """All values from `low` to `high`, drawn by their logarithm with `log`; or one of `choices`."""

    low: Number | None = None
    high: Number | None = None
    log: Annotated[bool, Strict()] = False
    choices: tuple[Value, ...] | None = Field(default=None, min_length=2, max_length=MOST_CHOICES)

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if self.choices is not None:
            if self.low is not None or self.high is not None or self.log:
                raise ValueError("choices stand alone, without low, high and log")
            if len({repr(each) for each in self.choices}) < len(self.choices):
                raise ValueError("choices: one is named twice")
            return self
        if self.low is None or self.high is None:
            raise ValueError("give low and high, or choices")
        if not self.low < self.high:
            raise ValueError(f"low {self.low} is not below high {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"log: low {self.low} must be above 0")
        return self

    @property
    def whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def ends(self) -> tuple[Any, ...]:
        return (self.low, self.high) if self.choices is None else self.choices

    def rounded(self, value: Any) -> Any:
        """A drawn number with few digits, still within the ends."""
        if not isinstance(value, float) or self.low is None or self.high is None:
            return value
        return min(max(float(f"{value:.{DIGITS}g}"), float(self.low)), float(self.high))


Axes = dict[str, Axis]


class TaskAxes(Settings):
    options: Axes = Field(default_factory=dict)


class SpaceFile(Settings):
    training: Axes = Field(default_factory=dict)
    server: Axes = Field(default_factory=dict)
    task: TaskAxes = TaskAxes()

    def named(self) -> Iterator[tuple[str, Axis]]:
        sections = {"training": self.training, "server": self.server}
        for section, axes in (sections | {"task.options": self.task.options}).items():
            yield from ((f"{section}.{key}", axis) for key, axis in axes.items())


@dataclass(frozen=True, slots=True)
class Space:
    """`axes` by the dotted name of their key, in its alphabetical order."""

    axes: dict[str, Axis]

    def as_json(self) -> dict[str, Any]:
        return {name: axis.model_dump(exclude_defaults=True) for name, axis in self.axes.items()}


def load_space(path: Path, plan: Plan) -> Space:
    """Raises ConfigError with a line for each key or end that no trial of this plan could take."""
    axes = dict(sorted(load(path, SpaceFile).named()))
    if not axes:
        raise ConfigError(f"{path}: names no key; begin with [training.learning_rate]")
    if len(axes) > MOST_AXES:
        raise ConfigError(f"{path}: {len(axes)} keys, and at most {MOST_AXES} are tried together")
    lines = [f"{path}: {name}: {why}" for name, axis in axes.items() if (why := _unfit(name, axis))]
    for name, axis in {} if lines else axes.items():
        for value in axis.ends:
            try:
                changed(plan, {name: value})
            except ConfigError as error:
                lines.append(f"{path}: {name} = {value!r}: {error.message}")
    if lines:
        raise ConfigError("\n".join(lines))
    return Space(axes)


def _unfit(name: str, axis: Axis) -> str:
    section, _, key = name.rpartition(".")
    known = {"training": TRAINING, "server": SERVER}.get(section)
    if known is None:
        return ""  # options are the task's own, which is asked
    if key in DECIDED and section == "training":
        return "a budget is decided, not tried; write it into the plan"
    if key not in known:
        return f"unknown key{meant(key, known) or '; one of ' + ', '.join(known)}"
    fields = (TrainingSection if section == "training" else ServerSection).model_fields
    if axis.choices is None and "int" in str(fields[key].annotation) and not axis.whole:
        return "a whole number: write low and high without a point"
    if "scaffold" in (axis.choices or ()):
        return "scaffold is not simulated; leave it out"
    return ""


def changed(plan: Plan, values: Values) -> Plan:
    """The plan with these keys set, checked as `plan.toml` is.

    Raises:
        ConfigError: it would be refused.
    """
    whole = plan.model_dump()
    for name, value in values.items():
        *sections, key = name.split(".")
        inner = whole
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[key] = value
    try:
        made = Plan.model_validate(whole)
    except ValidationError as error:
        lines = mistakes(error, Plan, "plan")
        raise ConfigError("; ".join(lines)) from error
    spec = registry.newest(made.task.id)
    faults = option_faults(spec, made.task.options) if spec else []
    if faults or (faults := [fault for fault in [budget_fault(made)] if fault]):
        raise ConfigError("; ".join(faults))
    return made
