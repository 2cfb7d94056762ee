"""`agent audit`: put canaries into a copy of a training run and see what can be told from the update.

Two runs: one at a claimed ε of 1, where the bound of a single run is sharp enough to refute too little
noise, and one with the noise of ε 8, where the separation of the traces is. Nothing is charged and
nothing is sent: what the copies learn is thrown away.
"""

import os
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
from edgeveil.agent.training.training import train
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.privacy.audit import Evidence, judge
from edgeveil.shared.privacy.filter import noise_multiplier_for
from edgeveil.shared.privacy.ledger.records import Kind
from edgeveil.shared.tasks import registry
from edgeveil.shared.tasks.modules import read_vector
from edgeveil.shared.tasks.own.shelf import use
from edgeveil.shared.tasks.records import Records
from edgeveil.shared.tasks.spec import Options, TaskSpec, Trainable
from edgeveil.shared.terminal.progress import Step, progress, silent
from edgeveil.shared.wire.plan import TrainingPlan

CLAIM, SHARP = 1.0, 8.0
REPEATS = 3  # an honest run raises the alarm by chance in 2 of 1000; twice in three in 1 of 100,000
MOST_RECORDS = 500  # of the owner's, in the copy
CLIP_NORM, LEARNING_RATE, N_REF = 1.0, 1.0, 1000
SEED = 7  # public: what a made-up record holds does not matter
FIRST = "feature-head"  # what is audited where nothing was trained yet


@dataclass(frozen=True)
class Audit:
    """`bound` was measured at `claimed`; the separation at the noise of ε 8."""

    claimed: float
    bound: Evidence
    sharp: Evidence
    alarms: int  # of `runs` runs at the sharper setting
    runs: int
    canaries: int
    records: int
    steps: int
    delta: float
    gradient_mode: str

    @property
    def passed(self) -> bool:
        return self.bound.epsilon < self.claimed and 2 * self.alarms <= self.runs

    def as_json(self) -> dict[str, Any]:
        return {
            "passed": self.passed,
            "epsilon_claimed": self.claimed,
            "epsilon_lower_bound": self.bound.epsilon,
            "mu_found": self.sharp.mu,
            "mu_expected": self.sharp.expected,
            **asdict(self),
        }


def audit_home(
    home: Path,
    *,
    data: Path | None,
    dataset: str | None,
    task_id: str | None,
    variant: str | None,
    canaries: int,
    steps: int,
    quiet: bool = True,
) -> Audit:
    """Audit with this home's data, the task it trained last and the δ of its policy.

    Unless `quiet`, a terminal shows how far it got.

    Raises:
        ConfigError: no data folder is known, or the task has no such variant.
        DataError: the data cannot be read as this task's.
    """
    config = settle(home, data, dataset)
    use(home)
    spec = _spec(home, config.dataset, task_id)
    task = registry.load(spec)
    options = task.parse_options({} if variant is None else {"variant": variant})
    records = DataShelf(check_folder(config.data)).load(task, options)
    policy_path = home / "policy.toml"
    policy = Policy.load(policy_path) if policy_path.exists() else Policy.default()
    with progress("training copies", 2 * steps, quiet=quiet) as step:
        return audit(
            task, options, records, canaries=canaries, steps=steps, delta=policy.delta, step=step
        )


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
    audited = AuditedTask(task, canaries)
    made_up = task.probe(1, torch.Generator().manual_seed(SEED), options)

    def run(claim: float) -> tuple[Evidence, str]:
        included = _coins(canaries)
        records = CanaryRecords(real, made_up, included, most=MOST_RECORDS)
        return _run(audited, options, records, included, claim, steps, delta, step)

    bound, mode = run(CLAIM)
    sharp = [run(SHARP)[0]]
    if sharp[0].alarm:  # by chance, or not: look twice more
        sharp += [run(SHARP)[0] for _ in range(REPEATS - 1)]
    return Audit(
        claimed=CLAIM,
        bound=bound,
        sharp=sharp[0],
        alarms=sum(evidence.alarm for evidence in sharp),
        runs=len(sharp),
        canaries=canaries,
        records=min(len(real), MOST_RECORDS),
        steps=steps,
        delta=delta,
        gradient_mode=mode,
    )


def _run(  # noqa: PLR0917  one run in the order in which its parts come into being
    audited: AuditedTask,
    options: Options,
    records: CanaryRecords,
    included: NDArray[np.bool_],
    claim: float,
    steps: int,
    delta: float,
    step: Step,
) -> tuple[Evidence, str]:
    sigma = noise_multiplier_for(claim, delta, steps, 1.0)
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
    found = traces(result.update, tensors)
    return judge(included, found, sigma=sigma, steps=steps, delta=delta), result.gradient_mode


def _coins(count: int) -> NDArray[np.bool_]:
    bits = np.unpackbits(np.frombuffer(os.urandom(-(-count // 8)), dtype=np.uint8))
    return bits[:count].astype(np.bool_)
