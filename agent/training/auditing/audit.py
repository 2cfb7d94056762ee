"""`agent audit`: put canaries into copies of a training run and see what can be told from the updates.

Three runs: one at a claimed ε of 1, where counted guesses are sharp enough to refute too little noise of any
kind, and one with the noise of ε 3 and of ε 8 each, where the traces are read as the Gaussians they should be.
Nothing is charged and nothing is sent: what the copies learn is thrown away.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgeveil.agent.home.config import settle
from edgeveil.agent.home.data import DataShelf, check_folder
from edgeveil.agent.home.policy import Policy
from edgeveil.agent.ledger.budget import find_ledger
from edgeveil.agent.ledger.reading import LEDGER
from edgeveil.agent.training.auditing.canaries import AuditedTask, CanaryRecords, traces
from edgeveil.agent.training.sampler import self_test
from edgeveil.agent.training.training import train
from edgeveil.shared.base.errors import ConfigError, DataError
from edgeveil.shared.privacy.audit import CONFIDENCE, Guesses, judge
from edgeveil.shared.privacy.filter import noise_multiplier_for
from edgeveil.shared.privacy.gaussian import Separation, epsilon_of, separation
from edgeveil.shared.privacy.ledger.records import Kind
from edgeveil.shared.tasks import registry
from edgeveil.shared.tasks.modules import read_vector
from edgeveil.shared.tasks.own.shelf import use
from edgeveil.shared.tasks.records import Records
from edgeveil.shared.tasks.spec import Options, Task, TaskSpec, Trainable
from edgeveil.shared.terminal.progress import Step, progress, silent
from edgeveil.shared.wire.plan import TrainingPlan

CLAIM = 1.0
SHARP = (3.0, 8.0)
REPEATS = 3  # an honest run raises an alarm by chance in 2 of 1000; twice in three in 1 of 100,000
MOST_RECORDS = 500  # of the owner's, in the copy
CLIP_NORM, LEARNING_RATE = 1.0, 1.0
N_REF = 1000  # the divisor is this number, however many records there are
SEED = 7  # public: what a made-up record holds does not matter
FIRST = "feature-head"  # what is audited where nothing was trained yet


@dataclass(frozen=True)
class Near:
    """At one claim: what one run's traces prove (95 %), beside what the mathematics allow at this noise."""

    claimed: float
    epsilon: float
    gaussian: float  # ε of Gaussian DP at δ: what a perfect audit of very many canaries would find
    found: Separation
    alarms: int  # of `runs` runs
    runs: int

    @property
    def passed(self) -> bool:
        return 2 * self.alarms <= self.runs

    def as_json(self) -> dict[str, Any]:
        return {
            "epsilon_claimed": self.claimed,
            "epsilon_lower_bound": None if math.isinf(self.epsilon) else self.epsilon,
            "epsilon_gaussian": self.gaussian,
            **{
                name: _finite(value)
                for name, value in asdict(self.found).items()
                if name != "errors"
            },
            "alarms": self.alarms,
            "runs": self.runs,
            "why": [] if self.passed else list(self.found.alarms),
        }


@dataclass(frozen=True)
class Audit:
    """`guesses` were counted at `claimed`, `near` are the sharper settings."""

    task: str
    claimed: float
    guesses: Guesses
    near: tuple[Near, ...]
    canaries: int
    records: int
    steps: int
    delta: float
    gradient_mode: str

    @property
    def passed(self) -> bool:
        return self.guesses.epsilon < self.claimed and all(one.passed for one in self.near)

    def as_json(self) -> dict[str, Any]:
        return {
            "passed": self.passed,
            "task": self.task,
            "epsilon_claimed": self.claimed,
            "epsilon_lower_bound": self.guesses.epsilon,
            "right": self.guesses.right,
            "guesses": self.guesses.guesses,
            "near": [one.as_json() for one in self.near],
            "confidence": CONFIDENCE,
            "canaries": self.canaries,
            "records": self.records,
            "steps": self.steps,
            "delta": self.delta,
            "gradient_mode": self.gradient_mode,
        }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def audit_home(
    home: Path,
    *,
    data: Path | None,
    dataset: str | None,
    task_id: str | None,
    given: Mapping[str, object],
    canaries: int,
    steps: int,
    quiet: bool = True,
) -> Audit:
    """Audit with this home's data, the task it trained last, options as a plan names them, and the δ of its policy.

    Unless `quiet`, a terminal shows how far it got.

    Raises:
        ConfigError: no data folder is known, or the task has no such variant.
        DataError: the data cannot be read as this task's, or no record of them can be used.
    """
    config = settle(home, data, dataset)
    use(home)
    spec = _spec(home, config.dataset, task_id)
    task = registry.load(spec)
    options = _options(task, given)
    records = DataShelf(check_folder(config.data)).load(task, options)
    if not len(records):
        raise DataError(
            f"{config.data}: {spec.id} with these options can use no record of it; name the task and the options "
            "that this device trains with: --task TASK --option KEY=VALUE …"
        )
    policy_path = home / "policy.toml"
    policy = Policy.load(policy_path) if policy_path.exists() else Policy.default()
    with progress("training copies", (1 + len(SHARP)) * steps, quiet=quiet) as step:
        return audit(
            task, options, records, canaries=canaries, steps=steps, delta=policy.delta, step=step
        )


def _options(task: Task, given: Mapping[str, Any]) -> Options:
    """As a plan names them; raises ConfigError."""
    try:
        return task.parse_options(dict(given))
    except ConfigError as error:
        raise ConfigError(
            f"{error}; give the options of the plan that this device trains with: --option KEY=VALUE …"
        ) from error


def _spec(home: Path, dataset: str, task_id: str | None) -> TaskSpec:
    """The task named, else the one this data set trained last, else FIRST."""
    if task_id is None and (home / "ledger" / dataset / LEDGER).exists():
        _, _, found = find_ledger(home, dataset)
        reserved = (
            (b for b in found.bodies() if b["kind"] in (Kind.RESERVE, Kind.SHARED))
            if found
            else iter(())
        )
        task_id = next((str(body["task_id"]) for body in reserved), None)
    spec = registry.newest(task_id or FIRST)
    if spec is not None:
        return spec
    known = ", ".join(spec.id for spec in registry.catalogue())
    raise ConfigError(f"--task {task_id!r} is not installed; choose one of {known}")


def audit(
    task: Trainable,
    options: Options,
    real: Records,
    *,
    canaries: int,
    steps: int,
    delta: float,
    step: Step = silent,
) -> Audit:
    """Train copies of the task on `real` and canaries with this device's own engine."""
    self_test()  # where batches are full, canaries cannot tell how records are drawn
    audited = AuditedTask(task, canaries)
    made_up = task.probe(1, torch.Generator().manual_seed(SEED), options)
    modes = set()

    def run(claim: float) -> tuple[NDArray[np.bool_], NDArray[np.float64], float]:
        """Who was in, the traces, σ."""
        included = _coins(canaries)
        records = CanaryRecords(real, made_up, included, most=MOST_RECORDS)
        sigma = noise_multiplier_for(claim, delta, steps, 1.0)
        found, mode = _run(audited, options, records, sigma, steps, delta, step)
        modes.add(mode)
        return included, found, sigma

    def look(claim: float) -> Separation:
        included, found, sigma = run(claim)
        unit = LEARNING_RATE * CLIP_NORM / N_REF
        return separation(included, found, sigma=sigma, steps=steps, unit=unit)

    def near(claim: float) -> Near:
        looks = [look(claim)]
        if looks[0].alarms:  # by chance, or not: look twice more
            looks += [look(claim) for _ in range(REPEATS - 1)]
        first = next((one for one in looks if one.alarms), looks[0])
        return Near(
            claimed=claim,
            epsilon=epsilon_of(first.least, delta),
            gaussian=epsilon_of(first.expected, delta),
            found=first,
            alarms=sum(bool(one.alarms) for one in looks),
            runs=len(looks),
        )

    included, found, _ = run(CLAIM)
    return Audit(
        task=task.spec.id,
        claimed=CLAIM,
        guesses=judge(included, found, delta),
        near=tuple(near(claim) for claim in SHARP),
        canaries=canaries,
        records=min(len(real), MOST_RECORDS),
        steps=steps,
        delta=delta,
        gradient_mode=", ".join(sorted(modes)),
    )


def _run(  # noqa: PLR0917  one run in the order in which its parts come into being
    audited: AuditedTask,
    options: Options,
    records: CanaryRecords,
    sigma: float,
    steps: int,
    delta: float,
    step: Step,
) -> tuple[NDArray[np.float64], str]:
    plan = TrainingPlan(
        steps=steps,
        sample_rate=1.0,
        clip_norm=CLIP_NORM,
        learning_rate=LEARNING_RATE,
        noise_multiplier=sigma,
        delta=delta,
        rounds=1,
    )
    tensors = audited.tensors(options)
    start = read_vector(audited.build(options), tensors)
    result = train(
        audited,
        options,
        records,
        start,
        tensors,
        plan,
        N_REF,
        progress=lambda _done, _planned: step(1),
    )
    return traces(result.update, tensors), result.gradient_mode


def _coins(count: int) -> NDArray[np.bool_]:
    bits = np.unpackbits(np.frombuffer(os.urandom(-(-count // 8)), dtype=np.uint8))
    return bits[:count].astype(np.bool_)
