"""Windows varied in training: moved in time, and with noise on every value."""

import torch
from pydantic import BaseModel, Field
from torch import Tensor

from edgeveil.shared.tasks.augmentation import draws as chance
from edgeveil.shared.tasks.augmentation.draws import Draws

NAMES = frozenset({"jitter", "noise", "dropout"})


class WindowVariations(BaseModel):
    """`jitter`: rows earlier or later at most; `noise`: its standard deviation, thousandths of a column's range.

    `dropout`: percent of the values before the head.
    """

    jitter: int = Field(default=0, ge=0, le=64)
    noise: int = Field(default=0, ge=0, le=500)
    dropout: int = Field(default=0, ge=0, le=90)

    @property
    def varied(self) -> tuple[str, ...]:
        """The names of what is asked for."""
        return tuple(name for name in sorted(NAMES) if getattr(self, name))


def varied(windows: Tensor, asked: WindowVariations, draws: Draws) -> Tensor:
    """(N, T, C) in -1..1 → the same form; rows moved in repeat the first or last."""
    if asked.jitter:
        rows = windows.shape[1]
        places = torch.arange(rows) + draws.whole(chance.SHIFT, asked.jitter)  # (N, T)
        windows = windows[torch.arange(len(windows))[:, None], places.clamp(0, rows - 1)]
    if asked.noise:
        drawn = draws.normal(chance.NOISE, windows[:1].numel()) if len(windows) else windows
        windows = (windows + drawn.view_as(windows) * (2 * asked.noise / 1000)).clamp(-1, 1)
    return windows
