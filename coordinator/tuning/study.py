"""The trials of a study in one SQLite file: what to try next, what came of it. Optuna enters here alone.

What is tried next follows from the seed and from the trials that ended before, so that a study which was
stopped, or killed, goes on as it would have.
"""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import DatabaseError

from edgeveil.coordinator.tuning.space import Axis, Space
from edgeveil.coordinator.tuning.trial import Pruned, Report, Result
from edgeveil.shared.base.errors import ConfigError, EdgeveilError, ProtocolError, StateDamaged

FILE = "study.db"
NAME = "study"
FIRST_WHOLE = 5  # trials that are never pruned
ENDED = (TrialState.COMPLETE, TrialState.PRUNED)
LEAST_FOR_IMPORTANCE = 4  # trials that were finished

How = Literal["finished", "pruned", "refused", "diverged"]


@dataclass(frozen=True, slots=True)
class Tried:
    """A trial that has ended. `value`: of the metric, at round `rounds`; None where no round was judged."""

    number: int
    values: dict[str, Any]
    how: How
    value: float | None
    rounds: int
    seconds: float
    why: str = ""


class Study:
    """Trials are numbered from 1. `score` maps the metric to a figure of which more is better."""

    def __init__(
        self, folder: Path, identity: dict[str, str], space: Space, score: Callable[[float], float]
    ) -> None:
        """Raises ConfigError for a study of something else, StateDamaged for a file that is none."""
        self._path, self._space, self._score = folder / FILE, space, score
        with _quiet(self._path):
            self._study = optuna.create_study(
                storage=f"sqlite:///{self._path}",
                study_name=NAME,
                direction="maximize",
                load_if_exists=True,
            )
            known = self._study.user_attrs.get("identity")
            if known is None:
                self._study.set_user_attr("identity", identity)
            elif known != identity:
                other = ", ".join(key for key in identity if known.get(key) != identity[key])
                raise ConfigError(
                    f"{self._path}: this study is of another {other}; choose another --study, or remove {folder}"
                )
            for trial in self._study.get_trials(states=(TrialState.RUNNING,)):
                self._study.tell(trial.number, state=TrialState.FAIL)  # it was killed

    @property
    def baseline(self) -> float | None:
        """The metric of the plan as it was given."""
        found: float | None = self._study.user_attrs.get("baseline")
        return found

    @baseline.setter
    def baseline(self, value: float) -> None:
        with _quiet(self._path):
            self._study.set_user_attr("baseline", value)

    def tried(self) -> list[Tried]:
        """In the order in which they were begun."""
        with _quiet(self._path):
            ended = self._study.get_trials(states=ENDED)
        return [self._read(trial, number) for number, trial in enumerate(ended, start=1)]

    def best(self) -> Tried | None:
        """Of those that were finished, the first of the best."""
        found = [each for each in self.tried() if each.how == "finished" and each.value is not None]
        return max(
            found, key=lambda each: (self._score(each.value or 0.0), -each.number), default=None
        )

    def importance(self) -> dict[str, float]:
        """Which share of the differences between trials each key explains; empty while they are too few."""
        finished = [each for each in self.tried() if each.how == "finished"]
        several = len({each.value for each in finished}) > 1
        if len(finished) < LEAST_FOR_IMPORTANCE or not several:
            return {}
        with _quiet(self._path):
            found = get_param_importances(self._study, evaluator=PedAnovaImportanceEvaluator())
        return {name: float(share) for name, share in found.items()}

    def next(
        self, seed: int, rounds: int, carry_out: Callable[[dict[str, Any], Report], Result]
    ) -> Tried:
        """One more trial; whatever it was stopped by leaves the study as if it had not begun."""
        number = len(self.tried()) + 1
        with _quiet(self._path):
            self._study.sampler = optuna.samplers.TPESampler(
                seed=seed * 100_003 + number, multivariate=len(self._space.axes) > 1
            )
            self._study.pruner = optuna.pruners.MedianPruner(FIRST_WHOLE, max(1, rounds // 4))
            trial = self._study.ask(
                {name: distribution(axis) for name, axis in self._space.axes.items()}
            )
        values = {name: axis.rounded(trial.params[name]) for name, axis in self._space.axes.items()}
        trial.set_user_attr("values", values)
        try:
            self._end(trial, values, carry_out)
        except BaseException:
            with _quiet(self._path):
                self._study.tell(trial, state=TrialState.FAIL)
            raise
        return self.tried()[-1]

    def _end(
        self,
        trial: optuna.Trial,
        values: dict[str, Any],
        carry_out: Callable[[dict[str, Any], Report], Result],
    ) -> None:
        def report(number: int, value: float) -> None:
            trial.report(self._score(value), number)
            trial.set_user_attr("seen", value)
            trial.set_user_attr("rounds", number)
            if trial.should_prune():
                raise Pruned

        how: How = "finished"
        try:
            result = carry_out(values, report)
        except Pruned:
            how = "pruned"
        except (ConfigError, ProtocolError) as error:
            how = "refused" if isinstance(error, ConfigError) else "diverged"
            trial.set_user_attr("why", error.message)
        with _quiet(self._path):
            trial.set_user_attr("how", how)
            if how == "finished":
                trial.set_user_attr("seconds", result.seconds)
                self._study.tell(trial, self._score(result.value))
            else:
                self._study.tell(trial, state=TrialState.PRUNED)

    def _read(self, trial: FrozenTrial, number: int) -> Tried:
        told = trial.user_attrs
        took = trial.duration.total_seconds() if trial.duration else 0.0
        return Tried(
            number,
            told.get("values", trial.params),
            told.get("how", "pruned"),
            told.get("seen"),
            told.get("rounds", 0),
            told.get("seconds", took),
            told.get("why", ""),
        )


def distribution(axis: Axis) -> BaseDistribution:
    if axis.choices is not None:
        return CategoricalDistribution(axis.choices)
    if axis.low is None or axis.high is None:
        raise ConfigError("space: give low and high, or choices")
    if axis.whole:
        return IntDistribution(int(axis.low), int(axis.high), log=axis.log)
    return FloatDistribution(float(axis.low), float(axis.high), log=axis.log)


@contextmanager
def _quiet(path: Path) -> Iterator[None]:
    """Optuna keeps to itself what is no concern of an operator; a file that is no study is named.

    Raises:
        StateDamaged: the file cannot be read or written as a study.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except EdgeveilError:
        raise
    except (DatabaseError, RuntimeError, AssertionError) as error:
        raise StateDamaged(
            f"{path}: cannot be used as a study ({type(error).__name__}); remove it, or choose another --study"
        ) from error
