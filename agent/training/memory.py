"""How much memory one chunk of records may take: a part of what this device has free. No record counts."""

import contextlib
from pathlib import Path

PART = 8  # of the free memory; the rest is for the model, the data and everybody else
LEAST, MOST = 32 << 20, 1 << 30  # bytes
UNKNOWN = 256 << 20  # where the system does not say

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")


def chunk_memory() -> tuple[int, str]:
    """(bytes, why) from /proc/meminfo and, inside a container, its limit."""
    known = [value for value in (_available(), _cgroup_room()) if value is not None]
    if not known:
        return UNKNOWN, "free memory unknown"
    return part_of(max(0, min(known)))


def part_of(free: int) -> tuple[int, str]:
    """(bytes, why) of so many free bytes."""
    return max(LEAST, min(MOST, free // PART)), f"{free / 1e9:.1f} GB free"


def _available() -> int | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in MEMINFO.read_text("ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


def _cgroup_room() -> int | None:
    """What a version 2 control group still allows; None without a limit."""
    with contextlib.suppress(OSError, ValueError):
        limit = int((CGROUP / "memory.max").read_text("ascii"))
        return limit - int((CGROUP / "memory.current").read_text("ascii"))
    return None
