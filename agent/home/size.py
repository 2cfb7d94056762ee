"""n_ref: the public size of a data set, declared by its owner or taken from a noisy count, once and for all.

It weighs a device's share in the mean and scales its local steps, and other parties see it. So it must not
follow the records: what is not declared in policy.toml is a step of the ladder 1, 3, 10, 30, … from a
count with noise, which is charged to the ledger that it opens (shared.privacy.counting).
"""

from collections.abc import Callable
from dataclasses import dataclass

from edgeveil.agent.home.policy import Policy
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.privacy.counting import affordable_scale, proposed_size
from edgeveil.shared.privacy.filter import cap, choose_order


@dataclass(frozen=True, slots=True)
class Size:
    """`scale` is that of the count's noise, whose ε is 1/scale: 0 if the owner declared the figure, free."""

    n_ref: int
    scale: int = 0

    @property
    def sentence(self) -> str:
        """For the owner, when the ledger is opened."""
        if not self.scale:
            return f"this data set counts as {self.n_ref} records, as policy.toml declares; it stays so"
        return (
            f"this data set counts as {self.n_ref} records from now on: a noisy count, which was charged "
            f"with ε {1 / self.scale:.2g}. Whoever wants another figure declares it before a "
            "data set's first start: agent policy set n_ref=N"
        )


def unlike(policy: Policy, n_ref: int) -> str | None:
    """For the owner whose policy.toml declares another figure than the ledger of a data set was opened with."""
    if policy.n_ref in {None, n_ref}:
        return None
    return (
        f"policy.toml declares n_ref = {policy.n_ref}; this data set counts as {n_ref} records and goes on so: "
        "a size holds for data sets that begin after it was declared"
    )


def settle_size(policy: Policy, count: Callable[[], int]) -> Size:
    """The owner's figure, or a step from `count`; call it once, for each call draws fresh noise.

    Raises:
        ConfigError: there are no records and no figure.
    """
    if policy.n_ref is not None:
        return Size(policy.n_ref)
    records = count()
    if records < 1:
        raise ConfigError("n_ref needs at least one record, or a value in policy.toml")
    order = choose_order(policy.epsilon_max, policy.delta, policy.planned)
    scale = affordable_scale(cap(policy.epsilon_max, policy.delta, order), order)
    return Size(proposed_size(records, scale), scale)
