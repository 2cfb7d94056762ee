"""`agent policy show` and `agent policy set`: the owner's policy, read and changed on the device only.

A change is one record in every ledger of the home and one new policy.toml. What it loosens is named
before anything happens; the caller asks the owner.
"""

import re
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeveil.agent.home.home import AgentHome
from edgeveil.agent.home.policy import Policy
from edgeveil.agent.home.policy_changes import loosened
from edgeveil.agent.ledger.budget import open_home
from edgeveil.agent.ledger.reading import LEDGER, read_ledger
from edgeveil.agent.ledger.store import LedgerStore
from edgeveil.shared.base.clock import Clock
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.base.files import write_atomic

WITHOUT_NOISE = (
    "dp_required = false lets the coordinators of without_noise_for ask for training without noise. After the "
    "first such round ε of these records is not limited, whatever is set back or reset; sums of several devices "
    "are all that hides an update. Only for devices and a coordinator of one owner."
)
BARE = re.compile(r"[a-z][a-z0-9_-]*")
ASSIGNMENT = re.compile(r"([a-z_]+(?:\.[a-z_]+)?)=(.*)", re.DOTALL)


@dataclass(frozen=True)
class Change:
    """`looser` are the keys that allow more than what a ledger or the file has now."""

    before: Policy
    after: Policy
    looser: tuple[str, ...]

    @property
    def changed(self) -> tuple[str, ...]:
        old, new = _flat(self.before), _flat(self.after)
        return tuple(sorted(key for key in {*old, *new} if old.get(key) != new.get(key)))


def show(path: Path) -> dict[str, Any]:
    """The policy file, its hash, and how each ledger's chained policy compares with it.

    Raises:
        ConfigError: policy.toml is wrong.
        LedgerDamaged: a ledger cannot be trusted.
    """
    home = open_home(path)
    policy = current(home)
    return {
        "file": str(home.policy_path),
        "hash": policy.hash().hex(),
        "policy": policy.model_dump(mode="json"),
        "ledgers": [
            {
                "dataset": folder.name,
                "hash": chained.hash().hex(),
                "same": chained == policy,
                "file_is_looser_in": list(loosened(chained, policy)),
            }
            for folder, chained in _chained(home)
        ],
        "toml": policy.to_toml(),
    }


def prepare(path: Path, assignments: Sequence[str]) -> Change:
    """What KEY=VALUE… would make of the policy; nothing is written.

    Raises:
        ConfigError: a key or value is wrong, every fault at once.
    """
    home = open_home(path)
    before = current(home)
    values = before.model_dump(mode="json", exclude_none=True)
    for text in assignments:
        _assign(values, text)
    if any(text.startswith("dp_required=") for text in assignments):
        _name_whom_it_trusts(values, home)
    return compared(path, Policy.parse(values, "policy"))


def compared(path: Path, after: Policy) -> Change:
    """What a new policy would change; nothing is written."""
    home = open_home(path)
    before = current(home)
    kept = [before, *(chained for _, chained in _chained(home))]
    looser = sorted({key for old in kept for key in loosened(old, after)})
    return Change(before, after, tuple(looser))


def apply(
    path: Path,
    change: Change,
    clock: Clock,
    *,
    accept_looser: bool,
    before: Callable[[], None] = lambda: None,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Chain the new policy in every ledger, then write the file.

    Returns the data sets whose ledger it changed, and what the owner should know of their ledgers.
    `before` runs under the lock, before anything is chained.

    A crash in between leaves a tighter file than the ledger's, which is safe.

    Raises:
        Busy: `agent run` is running; nothing was changed.
        ConfigError: it loosens and `accept_looser` is false, or delta does not fit a ledger.
    """
    if change.looser and not accept_looser:
        raise ConfigError(
            f"this allows more than before: {', '.join(change.looser)}; confirm it with --yes"
        )
    home = open_home(path)
    done, remarks = [], []
    with home.lock():
        before()
        for folder, _ in _chained(home):
            state = read_ledger(folder, home.identity().public)
            with LedgerStore.open(
                folder,
                signer=home.identity(),
                dataset_id=folder.name,
                unit=change.after.unit,
                policy=change.after,
                clock=clock,
                attempts=home.last_attempts(),
                accept_looser=accept_looser,
            ) as store:
                if store.state.seq > state.seq:
                    done.append(folder.name)
                remarks += [f"{folder.name}: {remark}" for remark in store.remarks]
        write_atomic(home.policy_path, change.after.to_toml().encode())
    return tuple(done), tuple(remarks)


def _name_whom_it_trusts(values: dict[str, Any], home: AgentHome) -> None:
    """`dp_required=false` means the coordinator that this device has joined, and true nobody any more."""
    pinned = home.find_pinned()
    if values.get("dp_required") is True:
        values.pop("without_noise_for", None)
    elif pinned is not None:
        own = pinned.coordinator_public.hex()
        values["without_noise_for"] = sorted({own, *values.get("without_noise_for", ())})


def current(home: AgentHome) -> Policy:
    """policy.toml, or the defaults where there is none yet; raises ConfigError."""
    return Policy.load(home.policy_path) if home.policy_path.exists() else Policy.default()


def _chained(home: AgentHome) -> list[tuple[Path, Policy]]:
    """Each ledger's folder with the policy it last chained."""
    found = []
    for ledger in sorted(home.ledger_folder.glob(f"*/{LEDGER}")):
        state = read_ledger(ledger.parent, home.identity().public)
        found.append((ledger.parent, Policy.from_json(state.limits.policy_json)))
    return found


def _assign(values: dict[str, Any], text: str) -> None:
    """One KEY=VALUE or BLOCK.KEY=VALUE; an empty value takes the key away, so its default counts."""
    match = ASSIGNMENT.fullmatch(text)
    if match is None:
        raise ConfigError(f"{text!r}: write KEY=VALUE, such as epsilon_max=4 or secagg.n_min=5")
    *blocks, key = match[1].split(".")
    target = values
    for block in blocks:
        found = target.setdefault(block, {})
        if not isinstance(found, dict):
            raise ConfigError(f"{text!r}: {block} has no keys of its own")
        target = found
    if match[2] == "":
        target.pop(key, None)
    else:
        target[key] = _value(match[2])


def _value(text: str) -> Any:
    """A TOML value; a bare word is a string."""
    if BARE.fullmatch(text) and text not in {"true", "false", "inf", "nan"}:
        return text
    try:
        found = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{text[:60]!r} is not a TOML value ({error})") from error
    if set(found) != {"value"}:  # a second line would be a second key
        raise ConfigError(
            f"{text[:60]!r} is more than one value; give each key as its own KEY=VALUE"
        )
    return found["value"]


def _flat(policy: Policy) -> dict[str, Any]:
    """Values by dotted key."""
    flat: dict[str, Any] = {}
    for key, value in policy.model_dump(mode="json").items():
        if isinstance(value, dict):
            flat |= {f"{key}.{name}": item for name, item in value.items()}
        else:
            flat[key] = value
    return flat
