"""The agent's half of SCAFFOLD: what it remembers of a run, and how that bends its local steps.

Karimireddy et al. 2020, arXiv 1910.06378, algorithm 1 with option II. There cᵢ⁺ = cᵢ − c + (x − yᵢ)/(K·η)
is the mean gradient of the local steps, here of the noisy ones. Both variates are kept in units of
an update, v = −K·η·c: then cᵢ⁺ is the very update the agent uploads, c⁺ the mean of all, and a step
with the correction moves by −η·gradient + (v − vᵢ)/K. The upload leaves the corrections out; with
everybody in every round they cancel in the mean, so it is the paper's, and nobody has to know
whose older variate went into a sum (docs/design.md, "Server learning").

Privacy: the correction is made of the offer and of earlier noisy updates, all charged for, and comes
after clipping and noise, so it costs no budget.
"""

import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeveil.agent.ledger.witnesses import VARIATE_FILE, read_variate, variate_bytes
from edgeveil.shared.base.files import write_atomic

log = logging.getLogger("edgeveil.agent")


class Variates:
    """The newest sealed update of one run, in one file; another run's replaces it."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / VARIATE_FILE

    def keep(self, run_id: str, blob: bytes) -> None:
        """Save before the update leaves; `blob` is what the ledger sealed."""
        write_atomic(self._path, variate_bytes(run_id, blob))

    def bend(self, run_id: str, variate: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """How far the corrections of one round move the model, (d,); None: not at all.

        A device that joins late, or lost its file, takes plain steps until it has a variate of its
        own, which costs the others nothing.
        """
        own = self._own(run_id)
        if own is None or own.shape != variate.shape:
            return None
        return variate - own

    def _own(self, run_id: str) -> NDArray[np.float32] | None:
        try:
            found = read_variate(self._path)
        except ValueError:
            log.warning("%s is damaged and not used; the next round replaces it", self._path)
            return None
        if found is None or found[0] != run_id:
            return None
        return np.frombuffer(found[1], dtype="<f4").astype(np.float32)
