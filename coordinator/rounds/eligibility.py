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
    sizes: Mapping[str, int],
    wanted: range,
) -> dict[bytes, str]:
    """Of the agents that are connected, those that may not be asked, with the reason.

    A device that does not tell how it stands is eligible: its own rule decides when it is asked. `sizes`
    are declared ones, which stay as they are, of devices that told theirs; `wanted` those of the plan.
    """
    found = {}
    for agent in present:
        told = presence[agent].condition
        lacking = told.lacks(required) if told is not None else ()
        size = sizes.get(names[agent])
        if names[agent] in excluded:
            found[agent] = EXCLUDED
        elif size is not None and size not in wanted:
            found[agent] = f"size-{size}-not-{wanted.start}-to-{wanted.stop - 1}"
        elif lacking:
            found[agent] = ",".join(WORDS[flag] for flag in lacking)
    return found


def present_and_kept_out(
    members: Iterable[bytes],
    presence: Mapping[bytes, Presence],
    names: Mapping[bytes, str],
    *,
    excluded: Collection[str],
    required: tuple[Flag, ...],
    sizes: Mapping[str, int],
    wanted: range,
) -> tuple[list[bytes], dict[bytes, str]]:
    """Members that are connected and may be asked, and the connected ones that may not, with the reason."""
    present = [agent for agent in members if agent in presence and presence[agent].connected]
    kept_out = ineligible(
        present,
        presence,
        names,
        excluded=excluded,
        required=required,
        sizes=sizes,
        wanted=wanted,
    )
    return [agent for agent in present if agent not in kept_out], kept_out
