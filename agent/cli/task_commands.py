"""`agent task install` and its siblings: the copy in the home and the rule in the policy, changed together.

The rule is what allows a task, and the ledger chains it; a copy without one is never loaded for an offer.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeveil.agent.cli.policy_commands import Change, apply, compared, current
from edgeveil.agent.home.home import AgentHome
from edgeveil.agent.home.policy import OwnTask, Policy
from edgeveil.agent.ledger.budget import open_home
from edgeveil.shared.base.clock import SystemClock
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.tasks.own.shelf import Shelf
from edgeveil.shared.tasks.own.telling import listed, require

if TYPE_CHECKING:
    from edgeveil.shared.tasks.own.installing import Candidate


def checked(home: Path, named: str) -> "Candidate":
    """Load what was named and try it as every device does; raises ConfigError for a fault."""
    from edgeveil.agent.training.conforming import ALL_CHECKS
    from edgeveil.shared.tasks.conformance.suite import examine
    from edgeveil.shared.tasks.own.installing import candidate

    made = candidate(named, Shelf(home))
    require(named, examine(made.subject(), ALL_CHECKS), "agent")
    return made


def put(home: Path, made: "Candidate", *, confirmed: bool) -> tuple[str, ...]:
    """Keep a copy and allow its hash; the data sets in whose ledgers that was recorded.

    A device that has not joined yet has its home from here on.

    Raises:
        Busy: `agent run` is running; nothing was changed.
        ConfigError: not confirmed.
    """
    entry = made.entry
    if not confirmed:
        raise ConfigError(
            f"task {entry.id} {entry.version} with hash {entry.hash}: confirm this very code with --yes"
        )
    before = current(AgentHome(home))
    kept = tuple(rule for rule in before.own_tasks if rule.id != entry.id)
    rule = OwnTask(id=entry.id, version=entry.version, hash=entry.hash)
    change = _of_tasks_alone(compared(home, _with(before, (*kept, rule))))
    ledgers, _ = apply(home, change, SystemClock(), accept_looser=True, before=lambda: made.install(Shelf(home)))  # fmt: skip
    return ledgers


def known(home: Path) -> list[dict[str, Any]]:
    return listed(home, allowed={rule.hash for rule in current(open_home(home)).own_tasks})


def take_away(home: Path, task: str) -> None:
    """Raises ConfigError where there is none of that id, Busy while `agent run` is running."""
    before = current(open_home(home))
    rules = tuple(rule for rule in before.own_tasks if rule.id != task)
    change = _of_tasks_alone(compared(home, _with(before, rules)))
    apply(home, change, SystemClock(), accept_looser=True, before=lambda: Shelf(home).remove(task))


def _of_tasks_alone(change: Change) -> Change:
    """Raise ConfigError if policy.toml allows something else by now that its owner has not confirmed."""
    if others := sorted(set(change.looser) - {"own_tasks"}):
        raise ConfigError(
            f"policy.toml allows more than was confirmed: {', '.join(others)}; put that back, or confirm it "
            "first: agent policy set KEY=VALUE --yes"
        )
    return change


def _with(policy: Policy, rules: tuple[OwnTask, ...]) -> Policy:
    return policy.model_copy(update={"own_tasks": rules})
