"""`agent budget`: what this device has spent, read from its verified ledger. No torch, no network."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeveil.agent.home.config import known_dataset
from edgeveil.agent.home.home import AgentHome
from edgeveil.agent.home.policy import Policy
from edgeveil.agent.ledger.index import opened
from edgeveil.agent.ledger.reading import (
    BOOKMARK,
    LEDGER,
    Verified,
    check_belongs,
)
from edgeveil.agent.ledger.witnesses import Judgement, check_nothing_lost, read_judged
from edgeveil.shared.base.errors import ConfigError, EnrollmentError
from edgeveil.shared.privacy.ledger.records import Kind
from edgeveil.shared.privacy.ledger.state import LedgerState
from edgeveil.shared.privacy.rdp import Segment, best, total
from edgeveil.shared.privacy.report.two_figures import TwoFigures
from edgeveil.shared.privacy.unlimited import UNLIMITED, in_json, share

NOISED = (Kind.RESERVE, Kind.SHARED)
SHOWN_ROUNDS = 200  # of a long ledger, the newest
PLACE = {"run": "run_id", "round": "round", "attempt": "attempt"}  # in a row, in a record


@dataclass(frozen=True)
class Budget:
    """`epsilon_spent` is the best bound over the orders, `epsilon_enforced` the one that refuses.

    Both are infinite, and null in JSON, once a round was without noise (shared.privacy.unlimited).
    """

    dataset: str
    unit: str
    epsilon_spent: float
    epsilon_enforced: float
    epsilon_limit: float
    delta: float
    share_spent: float  # of the Rényi divergence that the filter allows, 0..1; no share of ε
    rounds: int  # charged ever, resets or not
    rounds_without_noise: int  # of these
    resets: int
    n_ref: int | None
    ledger_records: int
    ledger_head: str | None  # SHA-256 in hex; None before the first round
    rounds_left: int | None  # at the newest plan; None before the first round
    epsilon_sum: float  # towards whoever sees only sums; epsilon_spent unless noise was in shares
    epsilon_sum_limit: float | None  # None: the owner allows no noise in shares
    rounds_shared: int  # with noise in shares, since the last reset
    # run, round, attempt, epsilon_spent after each charge; with noise in shares epsilon_sum too
    after_rounds: list[dict[str, Any]]

    @property
    def epsilon_share(self) -> float:
        """What is spent of the limit, ε of ε, 0..1; where nothing is allowed, all of it."""
        return share(self.epsilon_spent, self.epsilon_limit) if self.epsilon_limit > 0 else 1.0

    @property
    def limited(self) -> bool:
        """Whether an ε bounds what these records may have shown."""
        return not self.rounds_without_noise

    def as_json(self) -> dict[str, Any]:
        figures = {
            "epsilon_spent": in_json(self.epsilon_spent),
            "epsilon_enforced": in_json(self.epsilon_enforced),
        }
        fields = {**asdict(self), **figures, "limited": self.limited}
        fields |= {
            "epsilon_sum": in_json(self.epsilon_sum),
            "epsilon_alone": figures["epsilon_spent"],
        }
        if not self.tells_sums:  # as before there was noise in shares
            for name in ("epsilon_sum", "epsilon_alone", "epsilon_sum_limit", "rounds_shared"):
                del fields[name]
        return fields

    @property
    def tells_sums(self) -> bool:
        """Whether there are two figures to tell."""
        return self.rounds_shared > 0 or self.epsilon_sum_limit is not None

    @property
    def two(self) -> TwoFigures | None:
        """The two, to be shown; None where there is only one."""
        if not self.tells_sums:
            return None
        most = self.epsilon_sum_limit or UNLIMITED
        return TwoFigures(self.epsilon_sum, most, self.epsilon_spent, self.epsilon_limit)


def open_home(path: Path) -> AgentHome:
    """The home of a device that has joined, or wants to; raises EnrollmentError for any other folder."""
    if not path.is_dir():
        raise EnrollmentError(f"{path}: no agent lives here; run: agent join TOKEN --home {path}")
    return AgentHome(path)


def find_ledger(path: Path, dataset: str | None = None) -> tuple[AgentHome, str, Verified | None]:
    """The home, the name of the data set and its verified ledger, None before the first round.

    Raises:
        ConfigError: a data set that was named and has no ledger here, which may be a slip of the pen.
        StateDamaged: the ledger cannot be trusted, or is gone although rounds were charged to one.
        EnrollmentError: this home never joined.
    """
    home = open_home(path)
    check_known(home, dataset)
    name = dataset or known_dataset(path)
    ledger = home.ledger_folder / name / LEDGER
    if not ledger.exists():
        home.pinned()
        check_nothing_lost(ledger.parent, home.identity().public, home.last_attempts())
        return home, name, None
    found, judgement = read_judged(ledger.parent, home.identity().public, home.last_attempts())
    judgement.insist(found.state, ledger)
    check_belongs(found.state, ledger.parent)
    return home, name, found


def look_around(path: Path, dataset: str | None = None) -> Judgement:
    """What lies beside the ledger, if there is one, says of it; raises as find_ledger."""
    home, name, found = find_ledger(path, dataset)
    if found is None:
        return Judgement()
    folder = home.ledger_folder / name
    return read_judged(folder, home.identity().public, home.last_attempts())[1]


def known_datasets(home: AgentHome) -> set[str]:
    """The one of agent.toml, and every one that has or had a ledger."""
    kept = opened(home.ledger_folder, home.identity().public)
    return (
        {known_dataset(home.path)}
        | kept
        | {
            path.parent.name
            for name in (LEDGER, BOOKMARK)  # of a ledger that is gone the bookmark tells
            for path in home.ledger_folder.glob(f"*/{name}")
        }
    )


def check_known(home: AgentHome, dataset: str | None) -> None:
    """Raise ConfigError if a data set was named that was never used here: a slip shows no zero."""
    known = known_datasets(home)
    if dataset is not None and dataset not in known:
        raise ConfigError(
            f"{home.path}: no data set named {dataset!r} was used here; known: {', '.join(sorted(known))}"
        )


def ledger_of(path: Path, dataset: str | None = None) -> tuple[str, LedgerState | None]:
    """The state alone; raises as find_ledger."""
    _, name, found = find_ledger(path, dataset)
    return name, None if found is None else found.state


def read_budget(path: Path, dataset: str | None = None) -> Budget:
    """The budget of one data set; before the first round, the policy with nothing spent.

    Raises:
        ConfigError: policy.toml is wrong.
        LedgerDamaged, EnrollmentError: as find_ledger.
    """
    home, name, found = find_ledger(path, dataset)
    if found is None:
        return unspent(name, Policy.load(home.policy_path))
    return budget_of(name, found)


def unspent(name: str, policy: Policy) -> Budget:
    return Budget(
        dataset=name,
        unit=policy.unit,
        epsilon_spent=0.0,
        epsilon_enforced=0.0,
        epsilon_limit=policy.epsilon_max,
        delta=policy.delta,
        share_spent=0.0,
        rounds=0,
        rounds_without_noise=0,
        resets=0,
        n_ref=policy.n_ref,
        ledger_records=0,
        ledger_head=None,
        rounds_left=None,
        epsilon_sum=0.0,
        epsilon_sum_limit=None
        if policy.shared_noise is None
        else policy.shared_noise.epsilon_sum_max,
        rounds_shared=0,
        after_rounds=[],
    )


def budget_of(name: str, found: Verified) -> Budget:
    state = found.state
    return Budget(
        dataset=name,
        unit=state.unit,
        epsilon_spent=state.epsilon_spent,
        epsilon_enforced=state.epsilon_enforced,
        epsilon_limit=state.epsilon_max,
        delta=state.delta,
        share_spent=state.share_spent,
        rounds=state.rounds_charged,
        rounds_without_noise=state.unlimited,
        resets=state.resets,
        n_ref=state.n_ref,
        ledger_records=state.seq,
        ledger_head=state.hash.hex(),
        rounds_left=_rounds_left(found),
        epsilon_sum=state.epsilon_sum,
        epsilon_sum_limit=state.limits.epsilon_sum_max,
        rounds_shared=state.shared,
        after_rounds=_after_rounds(found),
    )


def _reserves(found: Verified, *kinds: Kind) -> Iterator[dict[str, Any]]:
    """Reservations since the last reset, newest first; of these `kinds`, or with noise."""
    for body in found.bodies():
        if body["kind"] == Kind.RESET:
            return
        if body["kind"] in (kinds or NOISED):
            yield body


def _segment(body: dict[str, Any]) -> Segment:
    sigma, rate = float.fromhex(body["sigma"]), float.fromhex(body["q"])
    return Segment(sigma, rate, body["steps_planned"])


def _summed(body: dict[str, Any]) -> Segment:
    """What the round's sum shows, which with all noise in the update is what the update does."""
    one = _segment(body)
    if body["kind"] != Kind.SHARED:
        return one
    return one._replace(noise_multiplier=float.fromhex(body["sum_sigma"]))


def _rounds_left(found: Verified) -> int | None:
    newest = next(_reserves(found), None)
    if newest is None:
        return None
    state, (sigma, rate, steps) = found.state, _segment(newest)
    summed = _summed(newest).noise_multiplier
    return min(state.steps_left(sigma, rate), state.sum_steps_left(summed, rate)) // steps


def _after_rounds(found: Verified) -> list[dict[str, Any]]:
    """What was spent after each of the newest charges, added to what was spent before all of them.

    None from the first round without noise on, whenever that was; towards sums too where noise was in shares.
    """
    state = found.state
    newest = _reserves(found, *NOISED, Kind.UNLIMITED)
    shown = list(islice(newest, SHOWN_ROUNDS))[::-1]
    noised = [body for body in shown if body["kind"] in NOISED]
    columns = {"epsilon_spent": (_segment, state.history, state.divergence)}
    if state.shared:
        columns["epsilon_sum"] = (_summed, state.sum_history, state.sum_divergence)
    spent = {
        name: _before(history, divergence, [of(body) for body in noised])
        for name, (of, history, divergence) in columns.items()
    }
    limited = state.unlimited == len(shown) - len(noised)
    rows = []
    for body in shown:
        limited &= body["kind"] in NOISED
        row: dict[str, Any] = {name: body[of] for name, of in PLACE.items()}
        for name, (of, _, _) in columns.items():
            if body["kind"] in NOISED:
                spent[name] = spent[name] + total([of(body)])
            row[name] = best(spent[name], state.delta)[0] if limited else None
        rows.append(row)
    return rows


def _before(
    history: Sequence[Segment], divergence: Sequence[float], newest: list[Segment]
) -> npt.NDArray[np.float64]:
    """The divergence of all but these charges, for at most SHOWN_ROUNDS curves besides theirs."""
    steps = {(s.noise_multiplier, s.sample_rate): s.steps for s in history}
    for sigma, rate, count in newest:
        steps[sigma, rate] -= count
    older = [Segment(*key, count) for key, count in steps.items() if count]
    if len(older) <= SHOWN_ROUNDS:
        return total(older)
    return np.maximum(np.array(divergence) - total(newest), 0.0)
