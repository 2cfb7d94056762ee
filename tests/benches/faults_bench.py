"""The families of faults that tests/system and scripts/chaos.py share: kill, single, power, full, eio.

Each family makes trials from a seed; a trial is reproduced by (family, seed, point, passage).
"""

import os
import random
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

from crash_bench import Scenario, World
from power_bench import make_images, recover
from promises_bench import violations
from trials_bench import Trial, in_child, kill_trial, live, passages, single_trial

from edgeveil.shared.base import failpoints
from edgeveil.shared.base.failpoints import Failpoint

MEMORY = Path("/dev/shm")  # fsync costs nothing there, and crashes are simulated
FSYNCS = (Failpoint.LEDGER_FSYNC_BEFORE, Failpoint.FILE_FSYNC_BEFORE, Failpoint.EVENTS_FSYNC_BEFORE)


@dataclass
class Seed:
    """One scenario on disk, the passages of an undisturbed life, and room for trials."""

    number: int
    folder: Path
    rounds: int = 2
    strategy: str = "fedavg"
    scenario: Scenario = field(init=False)

    def __post_init__(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        self.scenario = Scenario(self.number, rounds=self.rounds, strategy=self.strategy)
        self.template = self.folder / "template"
        World.make(self.template, self.scenario)
        self.passages = passages(self.template, self.folder / "undisturbed", self.scenario)

    def passage(self, point):
        return random.Random(f"{self.number}/{point}").randint(1, self.passages[point])

    def trial(self, family, point, passage=None):
        """Run one and remove its folder unless it found something."""
        place = self.folder / f"{family}-{point}-{passage or self.passage(point)}"
        found = FAMILIES[family](self, place, point, passage or self.passage(point))
        if not found.violations:
            shutil.rmtree(place, ignore_errors=True)
        return found


def _kill(seed, place, point, passage):
    return kill_trial(seed.template, place, point, passage, seed.scenario)


def _single(seed, place, point, passage):
    return single_trial(seed.template, place, point, passage, seed.scenario)


def _eio(seed, place, point, passage):
    """One fsync fails; whoever noticed may stop or refuse, and a restart finds everything in order."""
    shutil.copytree(seed.template, place)
    schedule = failpoints.Schedule(f"{point}=eio@{passage}")
    in_child(live(place, seed.scenario, schedule), log=place / "side" / "log")
    code, seconds = in_child(live(place, seed.scenario), log=place / "side" / "log")
    found = [] if code == 0 else [f"after the failed fsync the process ended with {code}"]
    return Trial(1, seed.rounds, seconds, found + violations(place, seed.scenario))


def _full(seed, place, point, passage):
    """The disk fills up at one passage; with space again, the run ends as if nothing had been.

    Needs root for its own small tmpfs.
    """
    place.mkdir()
    scenario = replace(seed.scenario, attempts=3)
    mount(place, "4m")
    try:
        shutil.copytree(seed.template, place, dirs_exist_ok=True)
        mount(place / "side", "16m")

        def fill(passed):
            nonlocal passage
            passage -= passed is point
            if passed is point and passage == 0:
                take_all_space(place / "balloon")

        in_child(live(place, scenario, fill), log=place / "side" / "log")
        if not (place / "balloon").exists():
            return Trial(0, 0, 0.0, ["the disk was never full"])
        (place / "balloon").unlink()
        code, seconds = in_child(live(place, scenario), log=place / "side" / "log")
        found = [] if code == 0 else [f"with space again the process ended with {code}"]
        return Trial(1, seed.rounds, seconds, found + violations(place, scenario))
    finally:
        unmount(place / "side")
        unmount(place)


def quick_folder():
    """A temporary folder, in memory where the machine has it."""
    return tempfile.TemporaryDirectory(
        dir=MEMORY if MEMORY.is_dir() else None, prefix="edgeveil-faults-"
    )


def mount(folder, size):
    folder.mkdir(exist_ok=True)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", folder], check=True
    )


def unmount(folder):
    subprocess.run(["umount", folder], check=False, capture_output=True)


def can_mount(folder):
    probe = folder / "probe"
    try:
        mount(probe, "1m")
    except (OSError, subprocess.CalledProcessError):
        return False
    unmount(probe)
    return True


def take_all_space(path):
    handle = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    size = 1 << 16
    while size:
        try:
            os.write(handle, b"\0" * size)
        except OSError:
            size //= 2
    os.close(handle)


def power_trials(seed, **options):
    """(name of the cut, its trial) for every image of one life."""
    for image in make_images(seed.template, seed.folder / "power", seed.scenario, **options):
        found = recover(image, seed.scenario)
        if not found:
            shutil.rmtree(image)
        yield image.name, Trial(1, seed.rounds, 0.0, found)


FAMILIES = {"kill": _kill, "single": _single, "eio": _eio, "full": _full}
