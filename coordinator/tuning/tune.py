"""A study from a plan, a space and data to its page and the tuned plan. No session to a device is ever opened."""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeveil.coordinator.plan.evaluation import judged_by
from edgeveil.coordinator.plan.plan import Plan
from edgeveil.coordinator.plan.plan_file import load_plan
from edgeveil.coordinator.tuning import refusals
from edgeveil.coordinator.tuning.federation import Federation
from edgeveil.coordinator.tuning.outcome import Outcome, Setting
from edgeveil.coordinator.tuning.page import study_page
from edgeveil.coordinator.tuning.parts import MOST_AGENTS, Parts, way
from edgeveil.coordinator.tuning.space import Space, changed, load_space
from edgeveil.coordinator.tuning.study import Study, Tried
from edgeveil.coordinator.tuning.trial import Report, Result, Simulation
from edgeveil.coordinator.tuning.tuned import check_output, write_tuned
from edgeveil.shared.base.errors import ConfigError, ProtocolError, RunFailed
from edgeveil.shared.base.files import exclusive_lock, private_directory, write_atomic
from edgeveil.shared.base.names import check_name
from edgeveil.shared.pages.words import Language
from edgeveil.shared.tasks.own import shelf
from edgeveil.shared.terminal.progress import progress

PAGE = "tune.html"
MOST_TRIALS = 10_000


@dataclass(frozen=True, slots=True)
class Asked:
    """What the operator wants; `agents` 0 means as many as the plan asks in a round."""

    plan: Path
    space: Path
    data: Path
    trials: int
    home: Path
    agents: int = 0
    partition: str = "iid"
    seed: int = 1
    study: str = ""
    output: Path | None = None
    language: Language = "en"


@dataclass(frozen=True, slots=True)
class Written:
    outcome: Outcome
    page: Path
    plan: Path | None  # None where no trial was better than the plan


def tune(
    asked: Asked,
    say: Callable[[str], None],
    *,
    simulation: Callable[[Parts], Simulation] = Federation,
    quiet: bool = False,
) -> Written:
    """Go on until so many trials have ended; what was found is written after each, so a stop loses nothing.

    Raises:
        ConfigError: plan, space, data or study do not fit together; nothing was tried then.
        DataError: the data cannot be read.
        RunFailed: the plan as it is cannot be carried out on these data.
        Busy: another process goes on with the same study.
    """
    plan, space = _checked(asked)
    output = asked.output or asked.plan.with_name(f"{asked.plan.stem}.tuned.toml")
    check_output(output)
    agents = asked.agents or plan.rounds.goal
    parts = Parts(asked.data, plan, agents=agents, by=asked.partition, seed=asked.seed)
    folder = private_directory(asked.home / "tuning" / _name(asked))
    with exclusive_lock(folder / "lock", held_by="coordinator tune"):
        metric = judged_by(plan)
        study = Study(folder, _identity(asked, plan, space, parts, agents), space, metric.score)
        setting = Setting(agents, asked.partition, tuple(parts.sizes), parts.validation, asked.seed)

        def found() -> Outcome:
            tried, shares = tuple(study.tried()), study.importance()
            given = (asked.plan.name, plan, space, metric, setting, tried, study.best())
            return Outcome(*given, baseline=study.baseline or 0.0, importance=shares)

        def write() -> Written:
            return _write(asked, output, folder, found())

        say(cost(found(), asked.trials))
        _Work(asked, plan, study, simulation(parts), write, say, quiet).go_on()
        return write()


def cost(found: Outcome, trials: int) -> str:
    """What an operator is told before a study begins."""
    alone = found.plan.limit
    return (
        f"on devices each trial would cost each of them up to ε {alone:g}, and its sums would show up to ε {found.sums:g}: "
        f"{trials} trials up to ε {alone * trials:g}, added up; here they are simulated on {found.setting.agents} devices "
        "made of --data, no device is asked, and no budget is spent"
    )


def _checked(asked: Asked) -> tuple[Plan, Space]:
    """All that can be looked at before a record is read."""
    if not 1 <= asked.trials <= MOST_TRIALS:
        raise ConfigError(f"--trials {asked.trials}: 1 to {MOST_TRIALS}")
    way(asked.partition)
    shelf.use(asked.home)
    plan = load_plan(asked.plan)
    refusals.check_plan(plan)
    space = load_space(asked.space, plan)
    least = plan.rounds.minimum
    if asked.agents and not least <= asked.agents <= MOST_AGENTS:
        raise ConfigError(
            f"--agents {asked.agents}: {least} (rounds.minimum of the plan) to {MOST_AGENTS}"
        )
    if not asked.data.exists():
        raise ConfigError(f"--data {asked.data}: this path does not exist")
    refusals.check_data(asked.data, asked.home)
    refusals.check_apart(asked.data, plan)
    return plan, space


def _name(asked: Asked) -> str:
    if asked.study:
        return check_name(asked.study, "--study")
    tidy = "".join(c if c.isascii() and c.isalnum() else "-" for c in asked.plan.stem.lower())
    return tidy.strip("-")[:40] or "plan"


def _identity(asked: Asked, plan: Plan, space: Space, parts: Parts, agents: int) -> dict[str, str]:
    """What a study stands for: with any other of these its trials could not be compared."""
    values: dict[str, Any] = {
        "plan": plan.model_dump(mode="json"),
        "space": space.as_json(),
        "data": parts.fingerprint(plan),
        "number of agents": agents,
        "partition": asked.partition,
        "seed": asked.seed,
    }
    return {
        key: hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
        for key, value in values.items()
    }


@dataclass(frozen=True, slots=True)
class _Work:
    """A study at work; `write` is called after each trial."""

    asked: Asked
    plan: Plan
    study: Study
    simulation: Simulation
    write: Callable[[], object]
    say: Callable[[str], None]
    quiet: bool

    def go_on(self) -> None:
        metric, trials = judged_by(self.plan), self.asked.trials
        if self.study.baseline is None:
            self.study.baseline = self._baseline()
        self.say(f"the plan as it is: {metric.within} {metric.shown(self.study.baseline)}")
        done = len(self.study.tried())
        if done:
            self.say(f"going on after {done} trials")
        for number in range(done + 1, trials + 1):
            what = f"trial {number} of {trials}"
            tried = self.study.next(self.asked.seed, self.plan.rounds.count, self._trial(what))
            self.say(f"{what}: {_told(tried, self.study, self.plan)}")
            self.write()

    def _trial(self, what: str) -> Callable[[dict[str, Any], Report], Result]:
        def carry_out(values: dict[str, Any], report: Report) -> Result:
            return self._shown(what, changed(self.plan, values), report)

        return carry_out

    def _baseline(self) -> float:
        try:
            return self._shown("the plan as it is", self.plan, _nobody).value
        except ProtocolError as error:
            raise RunFailed(
                f"{self.asked.plan}: the plan as it is cannot be carried out on these data: {error.message}; "
                "lower training.learning_rate in the plan, which every trial begins from"
            ) from error

    def _shown(self, what: str, plan: Plan, report: Report) -> Result:
        last = 0
        with progress(what, plan.rounds.count, quiet=self.quiet) as step:

            def told(number: int, value: float) -> None:
                nonlocal last
                step(number - last)
                last = number
                report(number, value)

            return self.simulation(plan, self.asked.seed, told)


def _nobody(_number: int, _value: float) -> None:
    """Looks after no round."""


def _told(tried: Tried, study: Study, plan: Plan) -> str:
    metric, best = judged_by(plan), study.best()
    reached = "" if tried.value is None else f", {metric.within} {metric.shown(tried.value)}"
    top = "" if best is None else f"; best so far {metric.shown(best.value)} (trial {best.number})"
    return f"{tried.how}{reached}{f' ({tried.why})' if tried.why else ''}{top}"


def _write(asked: Asked, output: Path, folder: Path, found: Outcome) -> Written:
    page = folder / PAGE
    write_atomic(page, study_page(found, asked.language, made=time.time()).encode(), mode=0o644)
    gained = found.gained
    if gained is None:
        return Written(found, page, None)
    about = (
        f"trial {gained.number} of {len(found.tried)} on simulated devices, {found.metric.within} "
        f"{found.metric.shown(gained.value)} in place of {found.metric.shown(found.baseline)} on validation data"
    )
    write_tuned(output, asked.plan, gained.values, about)
    load_plan(output)
    return Written(found, page, output)
