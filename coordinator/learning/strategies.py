"""How the mean update becomes the next model: server optimisers on numpy vectors, nothing else.

Everything here is post-processing of a sum that is already private, so it costs no budget. The
device's update Δ is `trained − start`. Rules and symbols: McMahan et al. 2017 (FedAvg), Hsu et al.
2019, arXiv 1909.06335 (FedAvgM), Reddi et al. 2021, arXiv 2003.00295, algorithm 2 (FedAdam, FedYogi,
FedAdagrad), with Flower's bias correction for FedAdam; Karimireddy et al. 2020, arXiv 1910.06378,
algorithm 1 (SCAFFOLD), whose other half is agent.rounds.variates. State is float32, so that a resumed run goes
on bit by bit as if it had not stopped.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from edgeveil.shared.base.errors import ConfigError, ProtocolError, RefusalCode
from edgeveil.shared.vector.model_vector import VARIATE

Model = NDArray[np.float32]
MeanUpdate = NDArray[np.float64]
State = Mapping[str, Model]
Means = Mapping[str, MeanUpdate]
Step = tuple[MeanUpdate, dict[str, MeanUpdate]]  # what is added to the model; the next state

NOTHING: State = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Settings:
    """`momentum` is β or β₁, `second_moment` β₂, `adaptivity` τ of the papers."""

    learning_rate: float = 1.0
    momentum: float = 0.9
    second_moment: float = 0.99
    adaptivity: float = 1e-3

    def __post_init__(self) -> None:
        if not (np.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ConfigError(
                f"server.learning_rate: {self.learning_rate} must be a finite number above 0"
            )


@dataclass(frozen=True, slots=True, eq=False)
class Applied:
    """The next model, a new float32 (d,) array, and what the rule must remember."""

    model: Model
    state: State = field(repr=False)


Rule = Callable[[MeanUpdate, Means, Settings, int], Step]


def _fedavg(update: MeanUpdate, _state: Means, of: Settings, _number: int) -> Step:
    return of.learning_rate * update, {}


def _fedavgm(update: MeanUpdate, state: Means, of: Settings, _number: int) -> Step:
    first = of.momentum * state["first"] + update
    return of.learning_rate * first, {"first": first}


def _fedadam(update: MeanUpdate, state: Means, of: Settings, number: int) -> Step:
    first = _first(update, state, of.momentum)
    second = of.second_moment * state["second"] + (1 - of.second_moment) * update**2
    # Flower counts one round more than Kingma and Ba do.
    unbiased = float(
        np.sqrt(1 - of.second_moment ** (number + 1.0)) / (1 - of.momentum ** (number + 1.0))
    )
    return _adaptive(unbiased * of.learning_rate, first, second, of)


def _fedyogi(update: MeanUpdate, state: Means, of: Settings, _number: int) -> Step:
    first, before = _first(update, state, of.momentum), state["second"]
    second = before - (1 - of.second_moment) * update**2 * np.sign(before - update**2)
    return _adaptive(of.learning_rate, first, second, of)


def _fedadagrad(update: MeanUpdate, state: Means, of: Settings, _number: int) -> Step:
    second = state["second"] + update**2
    step, _ = _adaptive(of.learning_rate, update, second, of)
    return step, {"second": second}


def _scaffold(update: MeanUpdate, _state: Means, of: Settings, _number: int) -> Step:
    """The agents' updates hold no correction, so their mean is −steps · learning_rate · c⁺."""
    return of.learning_rate * update, {VARIATE: update}


def _first(update: MeanUpdate, state: Means, beta: float) -> MeanUpdate:
    return beta * state["first"] + (1 - beta) * update


def _adaptive(rate: float, first: MeanUpdate, second: MeanUpdate, of: Settings) -> Step:
    step = rate * first / (np.sqrt(second) + of.adaptivity)
    return step, {"first": first, "second": second}


STRATEGIES: Mapping[str, tuple[Rule, tuple[str, ...]]] = MappingProxyType(
    {
        "fedavg": (_fedavg, ()),
        "fedavgm": (_fedavgm, ("first",)),
        "fedadam": (_fedadam, ("first", "second")),
        "fedyogi": (_fedyogi, ("first", "second")),
        "fedadagrad": (_fedadagrad, ("second",)),
        "scaffold": (_scaffold, ()),
    }
)


def apply(
    name: str,
    model: Model,
    mean_update: MeanUpdate,
    *,
    state: State = NOTHING,
    settings: Settings = Settings(),
    number: int = 1,
    factor: float = 1.0,
) -> Applied:
    """One round of a strategy. `number` counts rounds from 1; `factor` scales the learning rate.

    `model` and `state` are left alone; an absent part of the state counts as zeros.

    Raises:
        ProtocolError: MODEL_INVALID, another length, or a value that is not finite before or after.
        ConfigError: there is no such strategy.
    """
    rule, parts = _known(name)
    if model.ndim != 1 or mean_update.shape != model.shape:
        raise _unusable(f"shape {mean_update.shape} for a model of shape {model.shape}")
    if not np.isfinite(mean_update).all():
        raise _unusable("it holds a value that is not finite")
    zeros = np.zeros(model.size, np.float32)
    wide = {part: state.get(part, zeros).astype(np.float64) for part in parts}
    # Summed in float64 and rounded once, so that small steps are not lost to float32.
    with np.errstate(over="ignore", invalid="ignore"):
        step, following = rule(mean_update, wide, settings, number)
        result = (model.astype(np.float64) + factor * step).astype(np.float32)
        kept = {part: values.astype(np.float32) for part, values in following.items()}
    if not all(np.isfinite(values).all() for values in (result, *kept.values())):
        raise _unusable("the next model would leave the range of float32")
    return Applied(result, kept)


def _known(name: str) -> tuple[Rule, tuple[str, ...]]:
    if name not in STRATEGIES:
        raise ConfigError(
            f"server.strategy: {name!r} is unknown; choose one of {', '.join(sorted(STRATEGIES))}"
        )
    return STRATEGIES[name]


def _unusable(what: str) -> ProtocolError:
    return ProtocolError(RefusalCode.MODEL_INVALID, f"the mean update is not usable: {what}")
