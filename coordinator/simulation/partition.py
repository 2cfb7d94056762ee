"""Which unit of a folder of records goes to which device, the same for the same seed (pure)."""

import numpy as np
from numpy.typing import NDArray

from edgeveil.coordinator.simulation.units import Units
from edgeveil.shared.base.errors import ConfigError

Places = NDArray[np.int64]  # of each unit: its device from 0, or HELD_OUT
HELD_OUT = -1
MOST_TRIES = 100


def assign(units: Units, devices: int, by: str, held_out: float, seed: int) -> Places:
    """Where each unit goes; raises ConfigError where some device would get nothing."""
    random = np.random.default_rng(seed)
    how, _, figure = by.partition(":")
    for _ in range(MOST_TRIES):
        places = WAYS[how](units, devices, figure, held_out, random)
        if set(range(devices)) <= set(places.tolist()):
            return places
        if how != "dirichlet":
            break
    raise ConfigError(
        f"--by {by}: {len(units.labels)} records or recordings are too few for {devices} devices; choose fewer"
    )


def _by_class(units: Units) -> list[Places]:
    return [np.flatnonzero(units.labels == label) for label in np.unique(units.labels)]


def _hold_out(units: Units, share: float, random: np.random.Generator) -> Places:
    """The same share of every class, drawn; the rest is 0."""
    places = np.zeros(len(units.labels), np.int64)
    for rows in _by_class(units):
        places[random.permutation(rows)[: round(share * len(rows))]] = HELD_OUT
    return places


def _iid(units: Units, devices: int, figure: str, held_out: float, random: np.random.Generator) -> Places:  # fmt: skip
    del figure
    places, at = _hold_out(units, held_out, random), 0
    for rows in _by_class(units):
        kept = random.permutation(rows[places[rows] != HELD_OUT])
        places[kept] = (at + np.arange(len(kept))) % devices  # on from device to device
        at += len(kept)
    return places


def _dirichlet(units: Units, devices: int, figure: str, held_out: float, random: np.random.Generator) -> Places:  # fmt: skip
    places = _hold_out(units, held_out, random)
    for rows in _by_class(units):
        kept = random.permutation(rows[places[rows] != HELD_OUT])
        shares = random.dirichlet(np.full(devices, float(figure)))
        cuts = np.rint(np.cumsum(shares)[:-1] * len(kept)).astype(int)
        for device, part in enumerate(np.split(kept, cuts)):
            places[part] = device
    return places


def _shards(units: Units, devices: int, figure: str, held_out: float, random: np.random.Generator) -> Places:  # fmt: skip
    places = _hold_out(units, held_out, random)
    kept = random.permutation(np.flatnonzero(places != HELD_OUT))
    kept = kept[np.argsort(units.labels[kept], kind="stable")]
    owners = random.permutation(np.repeat(np.arange(devices), int(figure)))
    for owner, part in zip(owners, np.array_split(kept, len(owners)), strict=True):
        places[part] = owner
    return places


def _group(units: Units, devices: int, figure: str, held_out: float, random: np.random.Generator) -> Places:  # fmt: skip
    """The largest group to whoever has least; with as many groups as devices, in their order."""
    del figure
    names, sizes = np.unique(units.groups, return_counts=True)
    if len(names) < 2:
        raise ConfigError("--by group: the records name no groups")
    drawn = random.permutation(len(names))[: round(held_out * len(names))]
    owner = dict.fromkeys(names[drawn].tolist(), HELD_OUT)
    left = [
        (name, size) for name, size in zip(names.tolist(), sizes, strict=True) if name not in owner
    ]
    if len(left) > devices:
        left.sort(key=lambda each: -each[1])
    load = np.zeros(devices, np.int64)
    for name, size in left:
        owner[name] = int(np.argmin(load))
        load[owner[name]] += size
    return np.array([owner[name] for name in units.groups.tolist()], np.int64)


def _time(units: Units, devices: int, figure: str, held_out: float, random: np.random.Generator) -> Places:  # fmt: skip
    del figure, random
    count = len(units.labels)
    places = np.full(count, HELD_OUT, np.int64)
    for device, part in enumerate(
        np.array_split(np.arange(count - round(held_out * count)), devices)
    ):
        places[part] = device
    return places


WAYS = {"iid": _iid, "dirichlet": _dirichlet, "shards": _shards, "group": _group, "time": _time}


def check_way(text: str) -> str:
    """The way itself; raises ConfigError for one that is not known."""
    how, _, figure = text.partition(":")
    try:
        right = (
            how in WAYS
            and {
                "dirichlet": lambda: 1e-3 <= float(figure) <= 1e3,
                "shards": lambda: 1 <= int(figure) <= 1000,
            }.get(how, lambda: not figure)()
        )
    except ValueError:
        right = False
    if not right:
        raise ConfigError(
            f"{text!r} is none of iid, dirichlet:A (0.001 to 1000), shards:K (1 to 1000), group, time"
        )
    return text
