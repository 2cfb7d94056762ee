"""Energy of the processor package by its own counters (RAPL), where the system lets this user read them."""

from dataclasses import dataclass
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


@dataclass(frozen=True, slots=True)
class Counters:
    """`paths`: a counter of microjoules per package; `why`: why there are none, "" if there are."""

    paths: tuple[Path, ...]
    why: str

    def read(self) -> tuple[int, ...]:
        return tuple(int(path.read_text()) for path in self.paths)

    def joules(self, before: tuple[int, ...]) -> float:
        """Since `before`, of everything that ran meanwhile; a counter that went round counts once."""
        spent = 0
        for path, first, last in zip(self.paths, before, self.read(), strict=True):
            span = int((path.parent / "max_energy_range_uj").read_text()) if last < first else 0
            spent += last - first + span
        return spent / 1e6


def counters(folder: Path = POWERCAP) -> Counters:
    if not folder.is_dir():
        return Counters((), f"this system has no {folder}")
    found = tuple(sorted(folder.glob("intel-rapl:[0-9]/energy_uj")))
    if not found:
        return Counters((), f"{folder} has no counter of a processor")
    for path in found:
        try:
            int(path.read_text())
        except (OSError, ValueError):
            return Counters((), f"{path} cannot be read by this user")
    return Counters(found, "")
