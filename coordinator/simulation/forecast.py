"""What a round would take on real devices, from what it took here (pure)."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edgeveil.coordinator.records.records import Outcome, RoundRecord

MEGABIT = 125_000.0  # bytes


@dataclass(frozen=True, slots=True)
class Fleet:
    """`bandwidth`: megabits per second of each device, in each direction; `compute`: its speed, a core here being 1."""

    bandwidth: float = 20.0
    compute: float = 0.25


@dataclass(frozen=True, slots=True)
class Forecast:
    """Of one round, in seconds and bytes; devices work side by side, the coordinator is a machine as this one."""

    bytes_up: int  # of one device
    bytes_down: int
    device_s: float
    transfer_s: float
    coordinator_s: float

    @property
    def round_s(self) -> float:
        return self.device_s + self.transfer_s + self.coordinator_s

    def as_json(self, rounds: int) -> dict[str, Any]:
        figures = {key: round(value, 3) for key, value in asdict(self).items()}
        return figures | {
            "round_s": round(self.round_s, 3),
            "rounds": rounds,
            "run_s": round(self.round_s * rounds, 1),
        }


def forecast(
    rows: Sequence[RoundRecord], device_s: float, workers: int, fleet: Fleet
) -> Forecast | None:
    """From the committed rounds; `device_s` is what one device worked in one of them, on a core here.

    The coordinator's part is what is left of a round's seconds once the devices' work is shared among `workers`.
    None before the first round.
    """
    committed = [row for row in rows if row.outcome is Outcome.COMMITTED]
    asked = sum(len(row.selected) for row in committed)
    if not asked:
        return None
    up = sum(row.bytes_up for row in committed) / asked
    down = sum(row.bytes_down for row in committed) / asked
    each = [row.seconds - device_s * len(row.selected) / workers for row in committed]
    return Forecast(
        round(up),
        round(down),
        device_s / fleet.compute,
        (up + down) / (fleet.bandwidth * MEGABIT),
        max(0.0, sum(each) / len(each)),
    )
