"""How a learning rate changes over the rounds of a run: the server's, and a device's own without noise."""

import math
from typing import Literal

Schedule = Literal["constant", "linear", "cosine", "step"]
HALVINGS = 4  # of `step`: parts the run is cut into, each at half the rate of the one before


def factor(
    schedule: Schedule, number: int, count: int, *, warmup: int = 0, end: float = 0.1
) -> float:
    """What the learning rate of round `number` (1 … count) is multiplied with; it ends at `end`.

    During `warmup` rounds it rises linearly to 1, whatever the schedule.
    """
    if number <= warmup:
        return number / (warmup + 1)
    done = 0.0 if count <= warmup + 1 else (number - warmup - 1) / (count - warmup - 1)
    done = min(done, 1.0)
    match schedule:
        case "constant":
            return 1.0
        case "linear":
            return 1 + done * (end - 1)
        case "cosine":
            return end + (1 - end) * (1 + math.cos(math.pi * done)) / 2
        case "step":
            return max(0.5 ** min(int(done * HALVINGS), HALVINGS - 1), end)
