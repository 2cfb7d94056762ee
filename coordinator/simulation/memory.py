"""How many simulated devices fit into memory, before any is made (pure but for what is asked of the machine)."""

from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.doctor.checks import available_memory

# Measured with the CUDA build of torch; docs/simulation.md, "Memory and time".
WORKER_BYTES = 900 << 20  # of a process that trains, before its first device
DEVICE_BYTES = 1 << 20  # of a device beside its records and vectors
VECTORS = 6  # float32 of a model's length that a device holds at once in a round


def check(
    agents: int, workers: int, parameters: int, record_bytes: int, room: int | None = None
) -> None:
    """Raise ConfigError with the number that fits; `record_bytes` are those of all devices together."""
    free = available_memory() if room is None else room
    each = DEVICE_BYTES + VECTORS * 4 * parameters + record_bytes // agents
    fits = max(0, (free - workers * WORKER_BYTES) // each)
    if agents > fits:
        raise ConfigError(
            f"--agents {agents}: {fits} fit into the {free / 2**30:.1f} GiB of memory that are free, "
            f"at {each / 2**20:.1f} MiB each; choose fewer, or a cluster with --ray ADDRESS"
        )
