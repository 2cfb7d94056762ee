"""`agent budget`: what this device has spent, read from its verified ledger. No torch, no network."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agent.config import known_dataset
from agent.dp.ledger_file import LEDGER, ledger_records
from agent.policy import Policy
from agent.state import AgentHome
from shared.errors import EnrollmentError
from shared.privacy.rdp import Segment, epsilon
from shared.privacy.records import Kind, Record
from shared.privacy.replay import replay

SHOWN_ROUNDS = 200  # of a long ledger, the newest; each costs one minimum over the orders


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
    after_rounds: list[dict[str, Any]]  # run, round, attempt, epsilon_spent after each charge

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def read_budget(path: Path, dataset: str | None = None) -> Budget:
    """The budget of one data set; before the first round, the policy with nothing spent.

    Raises:
        LedgerDamaged: the ledger cannot be trusted.
        ConfigError: policy.toml is wrong.
        EnrollmentError: this home never joined.
    """
    if not path.is_dir():
        raise EnrollmentError(f"{path}: no agent lives here; run: agent join TOKEN --home {path}")
    home = AgentHome(path)
    name = dataset or known_dataset(path)
    folder = home.ledger_folder / name
    if not (folder / LEDGER).exists():
        home.pinned()
        policy = Policy.load(home.policy_path)
        return Budget(
            name, policy.unit, 0.0, 0.0, policy.epsilon_max, policy.delta, 0.0, 0, None, 0, None, []
        )
    records = ledger_records(folder, home.identity().public)
    state = replay(records)
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
        after_rounds=_after_rounds(records, state.delta),
    )


def _after_rounds(records: Sequence[Record], delta: float) -> list[dict[str, Any]]:
    """What was spent after each charge since the last reset."""
    spent: list[Segment] = []
    rows = []
    charges = [record for record in records if record.kind in (Kind.RESERVE, Kind.RESET)]
    for number, record in enumerate(charges):
        if record.kind is Kind.RESET:
            spent.clear()
            continue
        spent.append(
            Segment(record.real("sigma"), record.real("q"), record.number("steps_planned"))
        )
        if number >= len(charges) - SHOWN_ROUNDS:
            where = {
                "run": record.text("run_id"),
                "round": record.number("round"),
                "attempt": record.number("attempt"),
            }
            rows.append({**where, "epsilon_spent": epsilon(spent, delta)[0]})
    return rows
