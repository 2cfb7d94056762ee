"""How the mean update becomes the next model: server optimisers on numpy vectors, nothing else.

Everything here is post-processing of a sum that is already private, so it costs no budget. The
device's update is `trained − start`; the strategy adds it with a server learning rate
(McMahan et al. 2017, "Communication-Efficient Learning", algorithm 1, equal weights).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from shared.errors import ConfigError, ProtocolError, RefusalCode

Model = NDArray[np.float32]
MeanUpdate = NDArray[np.float64]


class Strategy(Protocol):
    def apply(self, model: Model, mean_update: MeanUpdate) -> Model:
        """The next model, a new float32 (d,) array; `model` is left alone.

        Raises:
            ProtocolError: another length, or a value that is not finite before or after.
        """


@dataclass(frozen=True, slots=True)
class FedAvg:
    """model + learning_rate · mean_update; with 1.0 the plain average of the trained models."""

    learning_rate: float = 1.0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ConfigError(
                f"strategy.learning_rate: {self.learning_rate} must be a finite number above 0"
            )

    def apply(self, model: Model, mean_update: MeanUpdate) -> Model:
        if model.ndim != 1 or mean_update.shape != model.shape:
            raise _unusable(f"shape {mean_update.shape} for a model of shape {model.shape}")
        if not np.isfinite(mean_update).all():
            raise _unusable("it holds a value that is not finite")
        # Summed in float64 and rounded once, so that small steps are not lost to float32.
        with np.errstate(over="ignore", invalid="ignore"):
            result = (model.astype(np.float64) + self.learning_rate * mean_update).astype(
                np.float32
            )
        if not np.isfinite(result).all():
            raise _unusable("the next model would leave the range of float32")
        return result


STRATEGIES: Mapping[str, Callable[[float], Strategy]] = MappingProxyType({"fedavg": FedAvg})


def create(name: str, learning_rate: float = 1.0) -> Strategy:
    """The strategy called `name`; raises ConfigError naming the known ones."""
    if name not in STRATEGIES:
        raise ConfigError(
            f"strategy.name: {name!r} is unknown; choose one of {', '.join(sorted(STRATEGIES))}"
        )
    return STRATEGIES[name](learning_rate)


def _unusable(what: str) -> ProtocolError:
    return ProtocolError(RefusalCode.MODEL_INVALID, f"the mean update is not usable: {what}")
