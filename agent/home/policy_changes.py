"""Which values of a new policy allow more than the old one; those need the owner's confirmation."""

from collections.abc import Collection

from edgeveil.agent.home.policy import (
    Policy,
    Range,
    SecaggPolicy,
    TaskRule,
    WhenPolicy,
)
from edgeveil.agent.home.records.record_policy import RecordPolicy

CEILINGS = ("epsilon_max", "delta", "q_max", "steps_max", "rounds_max", "evaluation_share")
SECAGG_FLOORS = ("n_min", "gamma_ppm", "c_min", "sigma")


def loosened(old: Policy, new: Policy) -> tuple[str, ...]:
    """Keys of policy.toml that became more permissive, ascending; empty if only tightened."""
    found = [name for name in CEILINGS if getattr(new, name) > getattr(old, name)]
    if new.sigma_min < old.sigma_min:
        found.append("sigma_min")
    found += [
        name
        for name in ("clip_norm", "learning_rate")
        if _wider(getattr(old, name), getattr(new, name))
    ]
    if set(new.gradient_modes) - set(old.gradient_modes):
        found.append("gradient_modes")
    if not _within(new.tasks, old.tasks):
        found.append("tasks")
    if set(new.own_tasks) - set(old.own_tasks):
        found.append("own_tasks")
    if not _same_or_within(new.coordinators, old.coordinators):
        found.append("coordinators")
    if old.data is not None:
        found += _data(old.data, new.data)
    found += [key for key in ("tell_budget", "tell_model") if getattr(new, key) > getattr(old, key)]
    if not new.exempt <= old.exempt:
        found.append("dp_required")
    found += _shared_noise(old, new)
    if new.model.fetch and not old.model.fetch:
        found.append("model.fetch")
    if new.model.worse_max > old.model.worse_max:
        found.append("model.worse_max")
    found += _secagg(old.secagg, new.secagg)
    return tuple(sorted([*found, *_when(old.when, new.when)]))


def _shared_noise(old: Policy, new: Policy) -> list[str]:
    """To allow it at all lets an update alone show more than sums do; a higher limit, or none, lets sums."""
    if old.shared_noise is None:
        return [] if new.shared_noise is None else ["shared_noise"]
    limit = new.epsilon_max if new.shared_noise is None else new.shared_noise.epsilon_sum_max
    return ["shared_noise.epsilon_sum_max"] if limit > old.shared_noise.epsilon_sum_max else []


def _wider(old: Range, new: Range) -> bool:
    return new.least < old.least or new.most > old.most


def _within(new: str | Collection[TaskRule], old: str | Collection[TaskRule]) -> bool:
    """True if every task `new` allows is one that `old` allows too."""
    if isinstance(old, str):
        return True
    if isinstance(new, str):
        return False
    return all(
        any(
            (rule.id, rule.version) == (kept.id, kept.version)
            and kept.hash in (None, rule.hash)
            and (kept.variants is None or set(rule.variants or "*") <= set(kept.variants))
            for kept in old
        )
        for rule in new
    )


def _same_or_within(new: str | Collection[str], old: str | Collection[str]) -> bool:
    """False between "pinned" and a list of keys too: those cannot be compared."""
    if isinstance(new, str) or isinstance(old, str):
        return new == old
    return set(new) <= set(old)


def _data(old: RecordPolicy, new: RecordPolicy | None) -> list[str]:
    """What is read, and what its absence would tell; and with how few usable records this device takes part."""
    if new is None or new.model_copy(update={"usable_min": old.usable_min}) != old:
        return ["data"]
    return ["data.usable_min"] if new.usable_min < old.usable_min else []


def _secagg(old: SecaggPolicy, new: SecaggPolicy) -> list[str]:
    found = [name for name in SECAGG_FLOORS if getattr(new, name) < getattr(old, name)]
    if new.n_max > old.n_max:
        found.append("n_max")
    found += [name for name in ("bits", "prg") if set(getattr(new, name)) - set(getattr(old, name))]
    if new.allow_two and not old.allow_two:
        found.append("allow_two")
    return [f"secagg.{name}" for name in found]


def _when(old: WhenPolicy, new: WhenPolicy) -> list[str]:
    found = [name for name in ("charging", "idle") if getattr(old, name) > getattr(new, name)]
    if new.battery_min < old.battery_min:
        found.append("battery_min")
    if new.load_max > old.load_max:
        found.append("load_max")
    if new.tell and not old.tell:
        found.append("tell")
    return [f"when.{name}" for name in found]
