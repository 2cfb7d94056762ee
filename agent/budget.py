"""`agent budget`: what this device has spent, read from its verified ledger. No torch, no network."""

from dataclasses import asdict, dataclass
from typing import Any

from agent.config import known_dataset
from agent.dp.ledger_store import LEDGER, read_ledger
from agent.policy import Policy
from agent.state import AgentHome


@dataclass(frozen=True)
class Budget:
    """`epsilon_spent` is the best bound over the orders, `epsilon_enforced` the one that refuses."""

    dataset: str
    unit: str
    epsilon_spent: float
    epsilon_enforced: float
    epsilon_limit: float
    delta: float
    share_spent: float  # of the budget as the filter counts it, 0..1
    rounds: int
    n_ref: int | None
    ledger_records: int
    ledger_head: str | None  # SHA-256 in hex; None before the first round

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def read_budget(home: AgentHome, dataset: str | None = None) -> Budget:
    """The budget of one data set; before the first round, the policy with nothing spent.

    Raises:
        LedgerDamaged: the ledger cannot be trusted.
        ConfigError: policy.toml is wrong.
        EnrollmentError: this home never joined.
    """
    name = dataset or known_dataset(home.path)
    folder = home.ledger_folder / name
    if not (folder / LEDGER).exists():
        home.pinned()
        policy = Policy.load(home.policy_path)
        return Budget(
            name, policy.unit, 0.0, 0.0, policy.epsilon_max, policy.delta, 0.0, 0, None, 0, None
        )
    state = read_ledger(folder, home.identity().public)
    return Budget(
        dataset=name,
        unit=state.unit,
        epsilon_spent=state.epsilon_spent,
        epsilon_enforced=state.epsilon_enforced,
        epsilon_limit=state.epsilon_max,
        delta=state.delta,
        share_spent=state.rdp_spent / state.limits.cap,
        rounds=state.rounds_charged,
        n_ref=state.n_ref,
        ledger_records=state.seq,
        ledger_head=state.hash.hex(),
    )
