"""Public or simulated data as devices would hold them, and a part held out for judging: validation, never a test.

Either a folder that was dealt already (device-1 … beside server, as scripts/partition.py writes it), or one
data set, whose records are dealt here by a seed.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeveil.coordinator.plan.plan import Plan
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.tasks import registry
from edgeveil.shared.tasks.records import Batch, Records, Rows
from edgeveil.shared.tasks.spec import Options, Task

HELD_OUT = 0.2
MOST_AGENTS, MOST_KINDS = 1000, 1000
MOST_TRIES = 100
CHUNK = 500  # records looked at together


@dataclass(frozen=True, slots=True)
class Dealt:
    devices: tuple[Records, ...]
    validation: Records

    @property
    def sizes(self) -> list[int]:
        return [len(each) for each in self.devices]


@dataclass(frozen=True, slots=True, eq=False)
class _Some:
    """Some of other records."""

    of: Records
    rows: Rows
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: Rows) -> tuple[Batch, Batch]:
        return self.of.take(self.rows[rows])


class Parts:
    """How a data set is dealt for a plan; the options of a trial may prepare records differently, not deal them."""

    def __init__(self, data: Path, plan: Plan, *, agents: int, by: str, seed: int) -> None:
        """Raises ConfigError or DataError: absent, not of this task, or not to be dealt so."""
        self._data, self._task = data, task_of(plan)
        self._ready = (data / "server").is_dir() and (data / "device-1").is_dir()
        self._places: NDArray[np.int64] | None = None
        options = self._task.parse_options(plan.task.options)
        if self._ready:
            self._names = _dealt_folders(data, agents)
        else:
            self._check_dealable(options)
            records = self._task.load(data, options)
            self._places = dealt(kinds_of(records), len(records), agents, by, seed)
        self._agents = agents
        self._loaded = lru_cache(maxsize=2)(self._load)
        self.sizes = self.of(plan).sizes
        self.validation = len(self.of(plan).validation)
        _check_sizes(plan, self.sizes, self.validation)

    def of(self, plan: Plan) -> Dealt:
        """Raises ConfigError where the plan's options leave out other records than those that were dealt."""
        return self._loaded(self._task.parse_options(plan.task.options))

    def fingerprint(self, plan: Plan) -> str:
        """SHA-256 of all that the models see, so that a study goes on with the same data alone."""
        found, digest = self.of(plan), hashlib.sha256()
        for records in (*found.devices, found.validation):
            digest.update(len(records).to_bytes(8, "big"))
            for at in range(0, len(records), CHUNK):
                for part in records.take(np.arange(at, min(at + CHUNK, len(records)))):
                    for piece in _bytes(part):
                        digest.update(piece)
        return digest.hexdigest()

    def _load(self, options: Options) -> Dealt:
        if self._ready:
            dealt_to = [self._task.load(self._data / name, options) for name in self._names]
            return Dealt(tuple(dealt_to), self._task.load(self._data / "server", options))
        records, places = self._task.load(self._data, options), self._places
        if places is None or len(places) != len(records):
            raise ConfigError(f"these options leave {len(records)} records, and others were dealt")
        rows = [np.flatnonzero(places == each) for each in range(-1, self._agents)]
        held, *devices = (_Some(records, each) for each in rows)
        return Dealt(tuple(devices), held)

    def _check_dealable(self, options: Options) -> None:
        """Windows may share rows, so that dealt one by one they would tell devices and judge of each other."""
        if getattr(self._task.schema(options), "window", 0):
            raise ConfigError(
                f"--data {self._data}: windows that overlap are not dealt one by one; deal whole recordings first: "
                "scripts/partition.py DATA OUT --devices N --held-out 0.2, then --data OUT"
            )


def task_of(plan: Plan) -> Task:
    spec = registry.newest(plan.task.id)
    if spec is None:
        raise ConfigError(f"plan: task.id: no task {plan.task.id!r} is installed")
    return registry.load(spec)


def _dealt_folders(data: Path, agents: int) -> list[str]:
    names = [f"device-{number}" for number in range(1, agents + 1)]
    there = sum(each.is_dir() for each in data.glob("device-*"))
    if there != agents or not all((data / name).is_dir() for name in names):
        raise ConfigError(f"--data {data}: dealt to {there} devices; give --agents {there}")
    return names


def _check_sizes(plan: Plan, sizes: list[int], validation: int) -> None:
    if not all([*sizes, validation]):
        raise ConfigError("--data: a device, or the part for validation, would hold no record")
    for size in sizes:
        if size not in plan.sizes:
            raise ConfigError(
                f"--data: a device would hold {size} records, and the plan is for {plan.sizes.start} to "
                f"{plan.sizes.stop - 1}; change --agents, or secagg.n_ref_min and n_ref_max"
            )


def kinds_of(records: Records) -> NDArray[np.int64] | None:
    """(N,): the kind of each record, where targets are such; None where they are numbers, boxes or sequences."""
    found = []
    for at in range(0, len(records), CHUNK):
        _, targets = records.take(np.arange(at, min(at + CHUNK, len(records))))
        values = np.asarray(targets) if not isinstance(targets, list | tuple) else np.zeros(())
        if values.ndim != 1 or values.dtype.kind not in "iu":
            return None
        found.append(values.astype(np.int64))
    kinds = np.concatenate(found) if found else np.zeros(0, np.int64)
    return kinds if len(np.unique(kinds)) <= MOST_KINDS else None


def dealt(
    kinds: NDArray[np.int64] | None, count: int, agents: int, by: str, seed: int
) -> NDArray[np.int64]:
    """(N,): the device of each record from 0, or −1 for validation; `by`: iid, or dirichlet:A.

    Raises:
        ConfigError: another way, or too few records for so many devices.
    """
    how, alpha = way(by)
    if how == "dirichlet" and kinds is None:
        raise ConfigError("--partition dirichlet: the targets are no classes; use iid")
    random = np.random.default_rng(seed)
    groups = np.zeros(count, np.int64) if kinds is None else kinds
    for _ in range(MOST_TRIES):
        places, at = np.full(count, -1, np.int64), 0
        for kind in np.unique(groups):
            rows = random.permutation(np.flatnonzero(groups == kind))
            kept = rows[round(HELD_OUT * len(rows)) :]
            if how == "iid":
                places[kept] = (at + np.arange(len(kept))) % agents
                at += len(kept)
            else:
                cuts = np.cumsum(random.dirichlet(np.full(agents, alpha)))[:-1] * len(kept)
                for device, part in enumerate(np.split(kept, np.rint(cuts).astype(int))):
                    places[part] = device
        if set(places.tolist()) == set(range(-1, agents)):
            return places
        if how == "iid":
            break
    raise ConfigError(f"--data: {count} records are too few for {agents} devices dealt by {by}")


def way(by: str) -> tuple[str, float]:
    """Raises ConfigError for what is neither iid nor dirichlet:A."""
    how, _, figure = by.partition(":")
    try:
        alpha = float(figure) if how == "dirichlet" else 0.0
    except ValueError:
        alpha = -1.0
    if (how == "iid" and not figure) or (how == "dirichlet" and 1e-3 <= alpha <= 1e3):
        return how, alpha
    raise ConfigError(f"--partition {by}: iid, or dirichlet:A with A from 0.001 to 1000")


def _bytes(batch: Any) -> Iterator[bytes]:
    if isinstance(batch, list | tuple):
        for each in batch:
            yield from _bytes(each)
    else:
        values = np.ascontiguousarray(batch)
        yield repr((values.shape, values.dtype.str)).encode()
        yield values.tobytes()
