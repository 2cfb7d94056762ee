"""Who may be asked this round, and why the others may not (pure; docs/design.md, "Cohort").

Neither past behaviour nor speed counts, so that the draw among the eligible stays unbiased.
"""

from collections.abc import Collection, Iterable, Mapping

from edgeveil.coordinator.machine.transport import Presence
from edgeveil.shared.wire.condition import Flag

EXCLUDED = "excluded"  # complaints prove that it cheats
RESTING = "resting"  # refused for a reason that lasts, a short while ago; the goal may need it all the same
WORDS: Mapping[Flag, str] = {
    "charging": "not-charging",
    "battery": "battery-low",
    "idle": "busy",
}


def ineligible(
    present: Iterable[bytes],
    presence: Mapping[bytes, Presence],
    names: Mapping[bytes, str],
    *,
    excluded: Collection[str],
    required: tuple[Flag, ...],
) -> dict[bytes, str]:
    """Of the agents that are connected, those that may not be asked, with the reason.

    A device that does not tell how it stands is eligible: its own rule decides when it is asked.
    """
    found = {}
    for agent in present:
        told = presence[agent].condition
        lacking = told.lacks(required) if told is not None else ()
        if names[agent] in excluded:
            found[agent] = EXCLUDED
        elif lacking:
            found[agent] = ",".join(WORDS[flag] for flag in lacking)
    return found
