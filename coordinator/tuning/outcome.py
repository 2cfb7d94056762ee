"""What a study has found, for the table, the page and JSON alike."""

from dataclasses import asdict, dataclass
from typing import Any

from edgeveil.coordinator.plan.plan import Plan
from edgeveil.coordinator.tuning.space import Space
from edgeveil.coordinator.tuning.study import Tried
from edgeveil.shared.scores.metric import MetricSpec


@dataclass(frozen=True, slots=True)
class Setting:
    """What was simulated, as the study is known by."""

    agents: int
    partition: str
    sizes: tuple[int, ...]
    validation: int
    seed: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """`baseline`: the metric of the plan as it is; `best`: of the finished trials, None where there is none."""

    plan_name: str
    plan: Plan
    space: Space
    metric: MetricSpec
    setting: Setting
    tried: tuple[Tried, ...]
    best: Tried | None
    baseline: float
    importance: dict[str, float]

    @property
    def gained(self) -> Tried | None:
        """The best trial, if it was better than the plan."""
        best = self.best
        if best is None or best.value is None:
            return None
        better = self.metric.score(best.value) > self.metric.score(self.baseline)
        return best if better else None

    @property
    def sums(self) -> float:
        """ε that sums of one trial would show on devices."""
        shown = self.plan.limit_of_sums
        return self.plan.limit if shown is None else shown

    def in_plan(self, name: str) -> Any:
        """What the plan sets a dotted key to; None where it leaves that to the task."""
        inner: Any = self.plan.model_dump()
        for key in name.split("."):
            inner = inner.get(key) if isinstance(inner, dict) else None
        return inner

    def as_json(self) -> dict[str, Any]:
        return {
            "plan": self.plan_name,
            "metric": self.metric.name,
            "higher_is_better": self.metric.higher_is_better,
            "baseline": self.baseline,
            "best": None if self.best is None else asdict(self.best),
            "better_than_plan": self.gained is not None,
            "importance": self.importance,
            "epsilon_on_devices": {"each_trial": self.plan.limit, "sums_of_each_trial": self.sums},
            "epsilon_spent": 0.0,
            "simulated": asdict(self.setting),
            "space": self.space.as_json(),
            "trials": [asdict(each) for each in self.tried],
        }
