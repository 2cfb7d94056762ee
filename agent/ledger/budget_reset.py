"""`agent budget reset`: the owner begins to count anew. Recorded for good, and never asked for by a message.

What was spent stays spent: earlier updates are out in the world. The record stays in the ledger, every
later report shows it beside the ε of everything since the ledger was opened, and with `tell_budget` the
coordinator is told how often it happened.
"""

from dataclasses import dataclass
from pathlib import Path

from edgeveil.agent.home.policy import Policy
from edgeveil.agent.ledger.budget import check_known, find_ledger
from edgeveil.agent.ledger.store import LedgerStore
from edgeveil.shared.base.clock import Clock
from edgeveil.shared.base.errors import ConfigError

NOTE = "owner"


@dataclass(frozen=True)
class Forgotten:
    """What would no longer count."""

    dataset: str
    epsilon_spent: float
    rounds: int
    rounds_without_noise: int  # which no reset takes back
    resets: int


def look(path: Path, dataset: str | None) -> Forgotten:
    """What a reset of this data set's ledger would leave uncounted; nothing is written.

    Raises:
        ConfigError: nothing was spent, or no such data set was used here.
        LedgerDamaged, EnrollmentError: as agent.ledger.budget.find_ledger.
    """
    home, name, found = find_ledger(path, dataset)
    check_known(home, dataset)
    if found is not None and found.state.unlimited and not found.state.history:
        raise ConfigError(
            f"data set {name}: its rounds were without noise, which a reset does not take back: ε stays not limited"
        )
    if found is None or not found.state.history:
        raise ConfigError(f"data set {name}: nothing has been spent, so there is nothing to reset")
    state = found.state
    counted = state.epsilon_and_order[0]
    return Forgotten(name, counted, state.rounds_charged, state.unlimited, state.resets)


def reset(path: Path, forgotten: Forgotten, clock: Clock) -> None:
    """Append the record; the next round is charged from zero.

    Raises:
        Busy: `agent run` is running.
        ConfigError: policy.toml allows more than the ledger has chained.
    """
    home, name, found = find_ledger(path, forgotten.dataset)
    if found is None:
        raise ConfigError(f"data set {name}: there is no ledger")
    with (
        home.lock(),
        LedgerStore.open(
            home.ledger_folder / name,
            signer=home.identity(),
            dataset_id=name,
            unit=found.state.unit,
            policy=Policy.load(home.policy_path),
            clock=clock,
            attempts=home.last_attempts(),
        ) as store,
    ):
        store.reset(NOTE)
