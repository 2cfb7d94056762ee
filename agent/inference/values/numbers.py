"""What a model says where it chooses no label: a number in its unit, or how odd a record is."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Number:
    """`value` in the unit of the model's target."""

    value: float

    def as_json(self, _threshold: float = 0.0) -> dict[str, Any]:
        return {"value": shown(self.value)}


@dataclass(frozen=True, slots=True)
class Oddity:
    """`score` in nats per value, higher is odder; `threshold` None where neither the device nor the package has one."""

    score: float
    threshold: float | None

    @property
    def anomalous(self) -> bool | None:
        return None if self.threshold is None else self.score > self.threshold

    def as_json(self, _threshold: float = 0.0) -> dict[str, Any]:
        threshold = None if self.threshold is None else shown(self.threshold)
        return {"score": shown(self.score), "threshold": threshold, "anomalous": self.anomalous}


def shown(value: float) -> float:
    """As many digits as float32 holds."""
    return float(f"{value:.7g}")
