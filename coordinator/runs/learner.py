"""The coordinator's side of learning: strategy, schedule and average of one run, and what they remember."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from edgeveil.coordinator.learning import robust, schedules, strategies
from edgeveil.coordinator.learning.strategies import MeanUpdate, Model, Settings, State
from edgeveil.coordinator.plan.plan import Plan
from edgeveil.shared.base.schedule import factor
from edgeveil.shared.vector.model_vector import VARIATE

AVERAGE = "average"


@dataclass(frozen=True, eq=False)
class Learned:
    """`model` goes to the agents next; `state` is what the next round needs of this one."""

    model: Model = field(repr=False)
    state: State = field(default_factory=dict, repr=False)

    @property
    def published(self) -> Model:
        """What is evaluated and kept as best or last: the average where the plan wants one."""
        return self.state.get(AVERAGE, self.model)

    @property
    def variate(self) -> Model:
        """The global control variate in units of an update; zeros before the first round."""
        return self.state.get(VARIATE, np.zeros_like(self.model))


class Learner:
    """Pure: next() changes nothing, so a round that is not committed leaves no trace."""

    def __init__(self, plan: Plan) -> None:
        server = plan.server
        self._plan = plan
        self._settings = Settings(
            server.learning_rate, server.momentum, server.second_moment, server.adaptivity
        )

    def next(self, now: Learned, means: Sequence[MeanUpdate], number: int) -> Learned:
        """After round `number`, from the mean update of each shard.

        Raises:
            ProtocolError: MODEL_INVALID, the update or the next model is not usable.
        """
        server, count = self._plan.server, self._plan.rounds.count
        update = robust.robust_mean(server.robust, means, trim=server.trim)
        scale = factor(server.schedule, number, count, warmup=server.warmup, end=server.final_rate)
        # Decoupled, as in Loshchilov and Hutter 2019 (arXiv 1711.05101): public values alone, so it is free.
        shrunk = now.model * np.float32(1 - scale * server.weight_decay)
        applied = strategies.apply(
            server.strategy,
            shrunk,
            update,
            state=now.state,
            settings=self._settings,
            number=number,
            factor=scale,
        )
        state = dict(applied.state)
        mean = schedules.averaged(
            server.average,
            now.state.get(AVERAGE),
            applied.model,
            number,
            decay=server.average_decay,
            start=server.average_from or count // 2 + 1,
        )
        if mean is not None:
            state[AVERAGE] = mean
        return Learned(applied.model, MappingProxyType(state))
