"""What stays the same while an agent runs: its home, its pins, its owner's policy and data."""

import contextlib
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeveil.agent.home.config import ComputeConfig
from edgeveil.agent.home.data import DataShelf
from edgeveil.agent.home.home import AgentHome, Pinned
from edgeveil.agent.home.policy import Policy
from edgeveil.shared.base.clock import Clock
from edgeveil.shared.events.log import Event, EventLog
from edgeveil.shared.privacy.ledger.state import LedgerState
from edgeveil.shared.secagg.client.session import ClientSession
from edgeveil.shared.tasks import registry
from edgeveil.shared.tasks.records import Records
from edgeveil.shared.tasks.spec import Options, Task, TaskSpec
from edgeveil.shared.terminal.progress import Step, progress
from edgeveil.shared.wire.identity import Identity
from edgeveil.shared.wire.messages import Attempt, Kind, Tensor
from edgeveil.shared.wire.plan import TrainingPlan

if TYPE_CHECKING:
    from edgeveil.agent.training.engines.gradients import GradientMode
    from edgeveil.agent.training.training import SummedGradients, TrainingResult


ON_CPU = ComputeConfig()

log = logging.getLogger("edgeveil.agent")


class Trainer(Protocol):
    """What a round needs of agent.training.training; its class of that name is one, thin test agents have another."""

    def check_trainable(
        self,
        task: Task,
        options: Options,
        *,
        modes: "Collection[GradientMode]",
    ) -> object: ...

    def check_form(self, task: Task, options: Options) -> None: ...

    def train(  # noqa: PLR0917 - the shape of agent.training.train
        self,
        task: Task,
        options: Options,
        records: Records,
        start: NDArray[np.float32],
        tensors: tuple[Tensor, ...],
        plan: TrainingPlan,
        n_ref: int,
        *,
        modes: "Collection[GradientMode]",
        progress: Callable[[int, int], None],
        bend: NDArray[np.float32] | None = None,
    ) -> "TrainingResult": ...

    def summed_gradients(  # noqa: PLR0917 - the shape of agent.training.summed_gradients
        self,
        task: Task,
        options: Options,
        records: Records,
        start: NDArray[np.float32],
        tensors: tuple[Tensor, ...],
        plan: TrainingPlan,
        n_ref: int,
        *,
        modes: "Collection[GradientMode]",
        progress: Callable[[int, int], None],
    ) -> "SummedGradients": ...

    def train_without_noise(  # noqa: PLR0917 - the shape of agent.training.noiseless.train
        self,
        task: Task,
        options: Options,
        records: Records,
        start: NDArray[np.float32],
        tensors: tuple[Tensor, ...],
        plan: TrainingPlan,
        number: int,
        *,
        progress: Callable[[int, int], None],
    ) -> "TrainingResult": ...


class Summand(Protocol):
    """What a session needs of secure aggregation: shared.secagg.client.session.ClientSession, or a simulation's."""

    @property
    def state(self) -> str: ...
    def advert(self) -> bytes: ...
    def share(self, body: bytes) -> bytes: ...
    def masked(self, body: bytes) -> tuple[bytes, memoryview]: ...
    def agree(self, body: bytes) -> bytes: ...
    def unmask(self, body: bytes) -> bytes: ...
    def erase(self) -> None: ...


class Watch(Protocol):
    """A bar for work of so many steps; shared.terminal.progress.progress is one."""

    def __call__(self, what: str, total: int) -> contextlib.AbstractContextManager[Step]: ...


def torch_trainer(asked: ComputeConfig = ON_CPU) -> Trainer:
    """Raises ConfigError for a device that torch does not see."""
    from edgeveil.agent.training import training  # noqa: PLC0415 - torch and opacus: seconds to import
    from edgeveil.agent.training.compute import Compute  # noqa: PLC0415

    return training.Trainer(Compute.settle(asked))


@dataclass(frozen=True)
class Device:
    """`on_status` takes one sentence for the owner; `accept_looser` confirms a loosened policy."""

    home: AgentHome
    pinned: Pinned
    signer: Identity = field(repr=False)
    policy: Policy
    dataset_id: str
    shelf: DataShelf
    clock: Clock
    on_status: Callable[[str], None]
    accept_looser: bool = False
    trainer: Callable[[], Trainer] = torch_trainer
    load_task: Callable[[TaskSpec], Task] = registry.load
    may_train: Callable[[], None] = lambda: None  # raises PolicyRefusal: not now
    journal: EventLog | None = None  # what was done and what left, for the owner's page
    fsynced: Callable[[float], None] | None = (
        None  # seconds a record of the ledger took to the disk
    )
    progress: Watch = progress
    secagg: Callable[..., Summand] = ClientSession

    def tell(self, notice: str, *, kind: str = "notice") -> None:
        """A warning for the owner, in their log and on their terminal.

        `kind` sets apart what every round or run can say again (agent.home.log).
        """
        log.warning("%s", notice, extra={"kind": kind})
        self.on_status(notice)

    def note(
        self,
        event: Event,
        attempt: Attempt,
        *,
        stage: Kind,
        reason: str = "",
        size: int = 0,
        dur_ms: int | None = None,
        spent: LedgerState | None = None,
    ) -> None:
        """A line of the owner's journal, with what is `spent` by then; a full disk loses it and nothing else."""
        if self.journal is None:
            return
        with contextlib.suppress(OSError):
            self.journal.emit(
                event,
                run=attempt.run_id,
                round=attempt.round,
                attempt=attempt.attempt,
                stage=stage.name.lower(),
                reason=reason,
                size=size,
                dur_ms=dur_ms,
                epsilon_sum=0.0 if spent is None else spent.epsilon_sum,
                epsilon_alone=0.0 if spent is None else spent.epsilon_spent,
            )

    @property
    def ledger_folder(self) -> Path:
        return self.home.ledger_folder / self.dataset_id
