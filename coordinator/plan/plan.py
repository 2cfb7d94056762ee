"""What is trained, by how many, for how long, and what may be spent on it; coordinator.plan.plan_file reads it."""

from typing import Any, Self

from pydantic import SerializerFunctionWrapHandler, model_serializer, model_validator

from edgeveil.coordinator.learning.robust import LEAST
from edgeveil.coordinator.plan.cohort import PLANNED_RATE, needed
from edgeveil.coordinator.plan.sections import (
    EvaluationSection,
    ModelSection,
    PrivacySection,
    RoundsSection,
    SecaggSection,
    ServerSection,
    TaskSection,
    TrainingSection,
    Weights,
)
from edgeveil.shared.base.config import Settings
from edgeveil.shared.scores.metric import LOSS
from edgeveil.shared.secagg.agreement.sharding import shard_size
from edgeveil.shared.secagg.client.policy import small_cohort_notices
from edgeveil.shared.secagg.primitives.errors import Infeasible
from edgeveil.shared.secagg.primitives.solver import assumed_corrupt
from edgeveil.shared.tasks.registry import newest

WITHOUT_NOISE = (
    'training.privacy = "none": ε of what this trains is not limited, for ever; for devices of one owner only, '
    "and devices whose owner has not said so refuse"
)


class Plan(Settings):
    task: TaskSection
    model: ModelSection = ModelSection()
    training: TrainingSection
    privacy: PrivacySection = PrivacySection()
    rounds: RoundsSection
    secagg: SecaggSection = SecaggSection()
    server: ServerSection = ServerSection()
    evaluation: EvaluationSection = EvaluationSection()

    @model_validator(mode="before")
    @classmethod
    def _the_task_fills_in(cls, values: Any) -> Any:
        """Its installed version and its first metric, where the plan says nothing; so a stored plan is whole."""
        if not isinstance(values, dict):
            return values
        task, evaluation = values.get("task"), values.get("evaluation", {})
        if not isinstance(task, dict) or not isinstance(evaluation, dict):
            return values
        spec = newest(str(task.get("id")))
        if spec is None:
            return values
        first = spec.scoring.headline
        metric = {} if first is None else {"metric": first.name}
        filled = {"task": {"version": spec.version, **task}, "evaluation": {**metric, **evaluation}}
        return {**values, **filled}

    @model_serializer(mode="wrap")
    def _only_what_is_asked(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A plan that does not name a later key has the bytes, and the hash, of one before there was the key."""
        values: dict[str, Any] = handler(self)
        if self.model == ModelSection():
            values.pop("model", None)
        if self.privacy == PrivacySection():
            values.pop("privacy", None)
        if not self.server.weight_decay:
            values.get("server", {}).pop("weight_decay", None)
        return values

    @model_validator(mode="after")
    def _what_stays_was_learned(self) -> Self:
        part = self.task.options.get("train", "all")
        if part != "all" and self.model.initial is None:
            raise ValueError(
                f'task.options.train: "{part}" leaves the rest of the model as it was learned before: name '
                'that model as model.initial, or train "all"'
            )
        return self

    @model_validator(mode="after")
    def _scaffold_steps_are_plain(self) -> Self:
        if self.server.strategy == "scaffold":
            self.training.check_control_variates()
        return self

    @model_validator(mode="after")
    def _weights_mean_something(self) -> Self:
        if self.training.whole and self.secagg.weights == "declared":
            raise ValueError(
                'secagg.weights: with unit = "device" every device counts once; use weights = "uniform"'
            )
        adam = self.training.optimizer == "adam" and not self.training.plain
        if adam and self.secagg.weights == "declared":
            raise ValueError(
                "secagg.weights: adam divides each step by its own size, so an update is no sum over "
                'records that a size could weigh; use weights = "uniform", or optimizer = "sgd"'
            )
        return self

    @model_validator(mode="after")
    def _shares_add_up(self) -> Self:
        shared = self.privacy
        if shared.honest is None or shared.epsilon_sum is None:
            return self
        self.training.check_shares()
        if self.server.strategy == "scaffold":
            raise ValueError("privacy.noise: noise in shares and scaffold exclude each other")
        if shared.epsilon_sum > self.training.limit:
            raise ValueError(
                f"privacy.epsilon_sum {shared.epsilon_sum} is above training.epsilon "
                f"{self.training.limit}: a sum never shows more than an update alone"
            )
        return self

    @model_validator(mode="after")
    def _devices_measure_counts(self) -> Self:
        if self.evaluation.on_devices and self.evaluation.metric in {"", LOSS}:
            raise ValueError(
                "evaluation.metric: devices sum up counts, and the mean loss is none; choose another metric"
            )
        return self

    @property
    def limit(self) -> float:
        """The most ε that the run may cost a device, training and evaluations added up."""
        return self.training.limit + (self.evaluation.epsilon or 0.0)

    @property
    def limit_of_sums(self) -> float | None:
        """The most that the sums of the run may show, where training adds its noise in shares."""
        if self.privacy.epsilon_sum is None:
            return None
        asked = self.evaluation
        return self.privacy.epsilon_sum + (asked.epsilon_sum or asked.epsilon or 0.0)

    @property
    def weights(self) -> Weights:
        """What agents count for in the mean: their declared size, or all the same."""
        if self.secagg.weights is not None:
            return self.secagg.weights
        alike = (
            self.training.optimizer != "sgd" or self.secagg.n_ref_max == 1 or self.training.whole
        )
        return "uniform" if alike else "declared"

    @property
    def sizes(self) -> range:
        """The declared sizes (n_ref) of the devices that this plan is for."""
        most = self.secagg.n_ref_max if self.weights == "declared" else (1 << 32) - 1
        return range(self.secagg.n_ref_min, most + 1)

    @model_validator(mode="after")
    def _cohorts_fit(self) -> Self:
        if self.rounds.minimum < self.secagg.n_min:
            raise ValueError(
                f"rounds.minimum {self.rounds.minimum} is below secagg.n_min {self.secagg.n_min}"
            )
        if self.rounds.goal > self.cohort_max:
            raise ValueError(
                f"rounds.goal {self.rounds.goal} is above secagg.n_max {self.secagg.n_max}"
            )
        try:
            largest = self.sum_max
        except Infeasible as error:
            raise ValueError(f"secagg: {error}; relax gamma_ppm, delta_ppm or c_min") from error
        if self.server.robust != "none" and self.rounds.goal < LEAST * largest:
            raise ValueError(
                f"server.robust: a median needs {LEAST} shards; set secagg.shard_max to at most a "
                f"third of rounds.goal ({self.rounds.goal})"
            )
        self._check_honest(largest)
        sizes = [largest]
        if largest < self.cohort_max:
            sizes.append(self.shard_min)
            if 2 * self.shard_min > largest + 1:
                raise ValueError(
                    f"secagg: shards of {self.shard_min} to {largest} cannot hold every cohort; "
                    "shard_min (by default n_min or half of shard_max) is at most half of shard_max"
                )
        for size in sizes:
            if not self.secagg.feasible(size):
                raise ValueError(
                    f"secagg: a cohort of {size} has no parameters at these gamma_ppm, delta_ppm "
                    "and c_min; relax them or choose another size"
                )
        return self

    def _check_honest(self, largest: int) -> None:
        """Agents refuse a sum that may hold fewer honest shares, so the smallest one planned has to have them."""
        alone = largest >= self.cohort_max
        least = self.rounds.minimum if alone else self.shard_min
        corrupt = assumed_corrupt(largest, self.secagg.gamma_ppm, self.secagg.c_min)
        asked = {"privacy": self.privacy.honest, "evaluation": self.evaluation.honest}
        for section, honest in asked.items():
            if honest is not None and least - corrupt < honest:
                what = "rounds.minimum" if alone else "secagg.shard_min"
                raise ValueError(
                    f"{section}.honest {honest}: a sum of {least} agents ({what}), of which {corrupt} "
                    f"may be corrupt among up to {largest}, is sure of {max(0, least - corrupt)} honest ones"
                )

    @property
    def cohort_max(self) -> int:
        """The most agents that are asked in one round."""
        wanted = self.secagg.n_max
        return wanted if wanted is not None else needed(self.rounds.goal, PLANNED_RATE)

    @property
    def sum_max(self) -> int:
        """The most agents one sum may hold: the cohort, or a shard of it.

        The fewer, the fewer bits a lane needs. Raises Infeasible.
        """
        if self.secagg.shard_max is not None:
            return min(self.cohort_max, self.secagg.shard_max)
        return shard_size(self.cohort_max, self.secagg.feasible)

    @property
    def shard_min(self) -> int:
        """The fewest agents a shard is opened with."""
        wanted = self.secagg.shard_min
        return wanted if wanted is not None else max(self.secagg.n_min, self.sum_max // 2)

    @property
    def notices(self) -> tuple[str, ...]:
        """What the operator should know before such a plan runs."""
        least = 2 if self.secagg.n_min == 2 else self.rounds.minimum
        found = small_cohort_notices(least, self.secagg.c_min)
        if not self.training.noised:
            found += (WITHOUT_NOISE,)
        if not self.secagg.feasible(least):
            found += (
                f"a cohort of {least} with c_min = {self.secagg.c_min} has no parameters and aborts",
            )
        spec = newest(self.task.id)
        if spec and spec.from_scratch and self._learns_everything_with_noise:
            found += (f"{spec.id}: {spec.from_scratch}",)
        return found

    @property
    def _learns_everything_with_noise(self) -> bool:
        return self.training.noised and self.task.options.get("train", "all") == "all"
