"""What the frozen network makes of the owner's pictures: computed when the agent starts, never for an offer.

Whether it is computed follows from policy.toml and from what is installed on this device, and then it is
computed for every record, before the device connects. So nothing that an offer chooses decides what is
looked at, and no answer waits for it. What was computed before is taken from the home's cache, which
afterwards holds the pictures that are there now and no others.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edgeveil.agent.home.config import ComputeConfig
from edgeveil.agent.home.home import AgentHome
from edgeveil.agent.home.policy import Policy
from edgeveil.agent.home.records.feature_cache import FeatureCache, forget, keys
from edgeveil.agent.rounds.device import Watch
from edgeveil.shared.base.errors import NotInstalled, StateDamaged
from edgeveil.shared.data.images import Images
from edgeveil.shared.tasks.backbone import asset

TASK = "feature-head"
AT_A_TIME = 500  # pictures between two times that the cache is written


def completion(
    home: AgentHome,
    policy: Policy,
    asked: ComputeConfig,
    on_status: Callable[[str], None],
    watch: Watch,
) -> Callable[[Images], Images]:
    """What to add to all records at the start: nothing, where no offer that this policy allows could use it."""
    if wanted(policy):
        return Embedder(home, asked, on_status, watch)
    forget(home.path)
    return lambda found: found


def wanted(policy: Policy) -> bool:
    """By the public shape of the records and the tasks that are allowed."""
    schema = None if policy.data is None else policy.data.as_schema()
    if schema is None or not asset.suits(schema.kind, schema.shape):
        return False
    return isinstance(policy.tasks, str) or any(rule.id == TASK for rule in policy.tasks)


class Embedder:
    """Called once with all records. A cache that cannot be written is told and changes nothing else."""

    def __init__(
        self,
        home: AgentHome,
        asked: ComputeConfig,
        on_status: Callable[[str], None],
        watch: Watch,
    ) -> None:
        self._home, self._asked = home.path, asked
        self._on_status, self._watch = on_status, watch
        self._cache = FeatureCache(home.path, asset.identity(), asset.NUMBERS)

    def __call__(self, found: Images) -> Images:
        """The same records with the network's numbers; without the right weights as they are."""
        try:
            asset.check_weights()
        except NotInstalled as error:
            if asset.installed():  # something is wrong, while its absence is a choice
                self._on_status(f"plans with features {asset.NAME} are refused: {error}")
            forget(self._home)
            return found
        here = keys(found.pixels)
        kept = self._cache.read()
        known = {key: kept[key] for key in here if key in kept}
        new = {key: row for row, key in enumerate(here) if key not in known}
        if new:
            self._compute(found, new, known)
        elif len(known) < len(kept):
            self._keep(known)
        numbers = np.empty((len(here), asset.NUMBERS), dtype=np.float32)
        for row, key in enumerate(here):
            numbers[row] = known[key]
        return asset.EmbeddedImages(
            found.pixels, found.targets, found.left, found.advice, embedded=numbers
        )

    def _compute(
        self, found: Images, new: dict[bytes, int], known: dict[bytes, NDArray[np.float32]]
    ) -> None:
        """Add the numbers of `new`, rows by key, to those that are known."""
        from edgeveil.agent.training.compute import Compute  # noqa: PLC0415 - torch: only when needed
        from edgeveil.shared.tasks.backbone.embedding import embed  # noqa: PLC0415

        compute = Compute.settle(self._asked)
        compute.prepare()
        self._on_status(f"data: {len(new)} pictures go through {asset.NAME}, once")
        waiting = list(new.items())
        with self._watch(f"features {asset.NAME}", len(waiting)) as step:
            for at in range(0, len(waiting), AT_A_TIME):
                part = waiting[at : at + AT_A_TIME]
                rows = embed(found.pixels[[row for _, row in part]], compute.device, step)
                known |= {key: numbers for (key, _), numbers in zip(part, rows, strict=True)}
                self._keep(known)

    def _keep(self, known: dict[bytes, NDArray[np.float32]]) -> None:
        try:
            self._cache.keep(known)
        except (OSError, StateDamaged) as error:
            self._on_status(f"features are not kept, and computed again at the next start: {error}")
