"""What the privacy tests share: vectors, a device with a ledger, proposals, toy models and tasks."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from edgeveil.agent.home.policy import Policy
from edgeveil.agent.home.size import Size
from edgeveil.agent.ledger.guard import Question, Reservation, precheck
from edgeveil.agent.ledger.store import LedgerStore
from edgeveil.shared.privacy.rdp import Segment
from edgeveil.shared.wire.identity import Identity
from edgeveil.shared.wire.messages import Attempt
from edgeveil.shared.wire.plan import TrainingPlan

VECTORS = json.loads((Path(__file__).parents[1] / "vectors/v1/epsilon.json").read_text())
COORDINATOR = b"c" * 32
PLAN = {
    "options": {},
    "steps": 8,
    "sample_rate": 1.0,
    "clip_norm": 0.3,
    "learning_rate": 100.0,
    "noise_multiplier": 4.43,
    "delta": 1e-5,
    "rounds": 5,
    "n_ref_min": 1,
}


WITHOUT_NOISE = {"privacy": "none", "noise_multiplier": 0.0, "delta": 0.0, "batch_size": 8}


def history(vector: dict) -> list[Segment]:
    return [Segment(s["sigma"], s["q"], s["steps"]) for s in vector["history"]]


class FrozenClock:
    def monotonic(self) -> float:
        return 0.0

    def wall(self) -> float:
        return 1_700_000_000.0


def question(round_number: int = 1, attempt: int = 1, *, run: str = "run-1", **changes) -> Question:
    """A question that the default policy accepts; `changes` are plan fields or Question fields."""
    plan_fields = {**PLAN, **{k: v for k, v in changes.items() if k in TrainingPlan.model_fields}}
    plan = TrainingPlan(**plan_fields)
    fields = {
        "coordinator_id": COORDINATOR,
        "task_id": "feature-head",
        "task_version": "1.0.0",
        "task_hash": b"t" * 32,
        "model_hash": b"m" * 32,
        "dataset_id": "data",
    }
    fields |= {k: v for k, v in changes.items() if k not in TrainingPlan.model_fields}
    return Question(
        plan=plan, plan_json=plan.to_json(), attempt=Attempt(run, round_number, attempt), **fields
    )


@dataclass
class Device:
    """One agent's ledger folder and how to open it."""

    folder: Path
    identity: Identity = field(default_factory=Identity.generate)
    policy: Policy = field(default_factory=Policy)
    dataset_id: str = "data"
    size: Size = field(default_factory=lambda: Size(1000))
    asked: dict[str, object] = field(default_factory=dict)  # of every question, beside its number
    offline: bool = False

    def ask(self, number: int, attempt: int = 1) -> Question:
        return question(number, attempt, **self.asked)

    def open(self, **changes) -> LedgerStore:
        """The ledger, begun where there is none."""
        if not self.ledger.exists():
            return self.create(**changes)
        return LedgerStore.open(self.folder, **{**self._common, "attempts": {}, **changes})

    def create(self, **changes) -> LedgerStore:
        return LedgerStore.create(self.folder, **{**self._common, "size": self.size, **changes})

    @property
    def _common(self) -> dict[str, object]:
        return {
            "signer": self.identity,
            "dataset_id": self.dataset_id,
            "unit": "record",
            "policy": self.policy,
            "clock": FrozenClock(),
        }

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger.jsonl"

    def admit(self, store: LedgerStore, asked: Question) -> Reservation:
        return precheck(asked, self.policy, store.state, pinned=COORDINATOR, offline=self.offline)

    def spend(self, store: LedgerStore, asked: Question, until: str = "ack") -> None:
        """Walk the steps of one round, stopping after `until`."""
        begin = store.reserve if asked.plan.noised else store.unlimited
        steps: list[tuple[str, Callable[[], None]]] = [
            ("reserve", lambda: begin(self.admit(store, asked))),
            (
                "seal",
                lambda: store.seal(
                    asked.attempt,
                    b"noisy update",
                    steps_done=asked.plan.steps,
                    gradient_mode="ghost",
                ),
            ),
            ("submit", lambda: store.submit(asked.attempt, b"x" * 32)),
            ("ack", lambda: store.ack(asked.attempt)),
        ]
        for name, step in steps:
            step()
            if name == until:
                return
