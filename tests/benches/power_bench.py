"""Power cuts: what the disk would hold if the power failed at this moment, as copies of a folder.

The model, kinder than some disks and harsher than a kill: a file holds what was there at its last
fsync and a random prefix of what was written after; a rename not yet followed by an fsync of its
folder may be undone; SQLite's log ends anywhere within the transaction under way. Python's own
os.fsync and os.replace are watched, since everything but SQLite writes through them.
"""

import os
import random
import shutil
from pathlib import Path

from promises_bench import violations
from trials_bench import in_child, live

from edgeveil.shared.base import failpoints
from edgeveil.shared.base.failpoints import Failpoint

APPENDED = {"ledger.jsonl", "events.jsonl"}


class PowerCuts:
    """A failpoint hook that makes one image of `folder` per passage until `most` are made."""

    def __init__(self, folder, images, *, seed, every=1, most=10_000, lying=False):
        self.lying = lying
        self.folder, self.images = Path(folder), Path(images)
        self.images.mkdir()
        self.chance = random.Random(seed)
        self.every, self.most = every, most
        self.passed = self.made = 0
        self.synced = {}
        self.renamed = None
        self.log_size = 0

    def watch(self):
        """Patch this (child) process."""
        fsync, replace = os.fsync, os.replace

        def fsync_seen(handle):
            if self.lying and _name(handle).endswith("ledger.jsonl"):
                return  # a planted bug, to prove that the rules notice one
            fsync(handle)
            self.synced[_name(handle)] = os.fstat(handle).st_size

        def replace_seen(source, target, **more):
            target = Path(target)
            self.renamed = target, target.read_bytes() if target.exists() else None
            replace(source, target, **more)
            self.synced[str(target)] = target.stat().st_size

        os.fsync, os.replace = fsync_seen, replace_seen

    def __call__(self, point):
        self.passed += 1
        log = self.folder / "coordinator" / "state.db-wal"
        size = log.stat().st_size if log.exists() else 0
        torn = size > self.log_size and point is Failpoint.DATABASE_COMMIT_AFTER
        if self.passed % self.every == 0 and self.made < self.most:
            self._image(point, self.log_size if torn else size)
        if point is Failpoint.DATABASE_COMMIT_AFTER:
            self.log_size = size

    def _image(self, point, durable_log):
        target = self.images / f"{self.made:05d}-{point}"
        self.made += 1
        shutil.copytree(self.folder, target)
        for path in target.rglob("*"):
            original = str(self.folder / path.relative_to(target))
            if path.suffix == ".tmp":
                _cut(path, 0, self.chance)
            elif path.name in APPENDED:
                _cut(path, self.synced.get(original, 0), self.chance)
            elif path.name == "state.db-wal":
                _cut(path, durable_log, self.chance)
            elif path.name == "state.db-shm":
                path.unlink()
        if point is Failpoint.FILE_RENAME_AFTER and self.renamed and self.chance.random() < 0.5:
            name, before = self.renamed
            undone = target / name.relative_to(self.folder)
            if before is None:
                undone.unlink(missing_ok=True)
            else:
                undone.write_bytes(before)


def _name(handle):
    return str(Path(f"/proc/self/fd/{handle}").readlink())


def _cut(path, durable, chance):
    size = path.stat().st_size
    if size > durable:
        os.truncate(path, chance.randint(durable, size))


def make_images(template, folder, scenario, **options):
    """Live once through `scenario` in a child and return the images, in order."""
    folder = Path(folder)
    shutil.copytree(template, folder)
    images = folder.with_name(folder.name + "-images")
    cuts = PowerCuts(folder, images, seed=scenario.seed, **options)

    def action():
        cuts.watch()
        live(folder, scenario, cuts)()
        failpoints.install(None)

    code, _ = in_child(action, 600, folder / "side" / "log")
    if code != 0:
        raise AssertionError(f"seed {scenario.seed}: the undisturbed run ended with {code}")
    return sorted(images.iterdir())


def recover(image, scenario):
    """Start from what the disk held and finish; the broken promises."""
    code, _ = in_child(live(image, scenario), log=image / "side" / "log")
    found = [] if code == 0 else [f"after the power cut the process ended with {code}"]
    return found + violations(image, scenario)
