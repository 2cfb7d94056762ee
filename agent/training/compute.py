"""Where gradients are computed: the processor, or an accelerator that this installation of torch sees.

Forward and backward passes run there in float32. Sums, clipping and noise stay as they are on the
processor (agent.training.engines.summing, agent.training.noise): in float64, the noise from the cipher.
"""

import os
from dataclasses import dataclass

import torch

from edgeveil.agent.home.config import ComputeConfig
from edgeveil.agent.training import memory
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.tasks.records import Batch

ACCELERATORS = ("cuda", "mps")  # the better first


@dataclass(frozen=True, slots=True)
class Compute:
    """`device` in torch's words, one that is there; `threads` of the processor, None for as it was."""

    device: str = "cpu"
    threads: int | None = None

    @classmethod
    def settle(cls, asked: ComputeConfig) -> "Compute":
        """Raises ConfigError for a device that torch does not see."""
        there = (*seen(), "cpu")
        if asked.device == "auto":
            return cls(there[0], asked.threads)
        if asked.device not in there:
            raise ConfigError(
                f"agent.toml: compute.device: torch sees no {asked.device} here, only "
                f'{", ".join(there)}; choose one of them, or "auto"'
            )
        return cls(asked.device, asked.threads)

    def prepare(self) -> None:
        """One torch thread unless the owner says otherwise; full float32 in convolutions everywhere.

        With models this small, a second thread costs more in waiting than it computes as soon as
        anything else runs on the device (measured: ten times slower on two busy cores).
        """
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        elif "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(1)
        torch.backends.cudnn.allow_tf32 = False

    def moved(self, batch: Batch) -> Batch:
        """The same records on the device."""
        if self.device == "cpu":
            return batch
        if isinstance(batch, torch.Tensor):
            return batch.to(self.device)
        parts = (self.moved(part) for part in batch)
        return tuple(parts) if isinstance(batch, tuple) else list(parts)

    def chunk_memory(self) -> tuple[int, str]:
        """(bytes, why) that one chunk of records may take, where it is computed."""
        if self.device != "cuda":
            return memory.chunk_memory()
        free, _ = torch.cuda.mem_get_info()
        return memory.part_of(free)


CPU = Compute()


def seen() -> tuple[str, ...]:
    """The accelerators that torch can use here."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    return tuple(name for name in ACCELERATORS if there[name])


def described(device: str) -> str:
    """A device as its owner knows it."""
    return f"cuda ({torch.cuda.get_device_name()})" if device == "cuda" else device
