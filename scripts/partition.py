"""Part a folder of records among devices, as experiments need it: DST/device-1 …, and DST/server held out.

    python scripts/partition.py photos devices --devices 8 --by dirichlet:0.3 --held-out 0.1
    python scripts/partition.py watch devices --devices 8 --by group --held-out 0.2

A folder for each class, one .npz file with X and y (and `groups`), or .csv files beside a schema.toml. Of
windows whole recordings are dealt, since a window must not reach over what two devices have. The same command
parts in the same way.

  iid            classes in equal shares
  dirichlet:A    each class in shares drawn from Dir(A): the smaller A, the more devices differ
  shards:K       sorted by class and cut; each device gets K pieces, so about K classes
  group          whole groups (a wearer, a site): the column with the role "group"
  time           in the order of names and lines: the first device has the oldest, what is held out is last
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

try:
    from record_units import Units, open_units

    from edgeveil.shared.base.errors import ConfigError, EdgeveilError
except ModuleNotFoundError as error:
    sys.exit(f'{error.name} is missing; run: pip install -e ".[dev]"')

Places = NDArray[np.int64]  # of each unit: its device from 0, or HELD_OUT
HELD_OUT = -1
MOST_DEVICES = 1000
MOST_TRIES = 100


def assign(units: Units, devices: int, by: str, held_out: float, seed: int) -> Places:
    """Where each unit goes; raises ConfigError where some device would get nothing."""
    random = np.random.default_rng(seed)
    how, _, figure = by.partition(":")
    for _ in range(MOST_TRIES):
        places = _PARTED[how](units, devices, figure, held_out, random)
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


_PARTED = {"iid": _iid, "dirichlet": _dirichlet, "shards": _shards, "group": _group, "time": _time}


def chosen_way(text: str) -> str:
    how, _, figure = text.partition(":")
    try:
        right = (
            how in _PARTED
            and {
                "dirichlet": lambda: 1e-3 <= float(figure) <= 1e3,
                "shards": lambda: 1 <= int(figure) <= 1000,
            }.get(how, lambda: not figure)()
        )
    except ValueError:
        right = False
    if not right:
        raise argparse.ArgumentTypeError(
            f"{text!r} is none of iid, dirichlet:A (0.001 to 1000), shards:K (1 to 1000), group, time"
        )
    return text


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path, help="folder to make")
    parser.add_argument("--devices", type=int, required=True, help=f"1 to {MOST_DEVICES}")
    parser.add_argument("--by", type=chosen_way, default="iid", metavar="WAY")
    parser.add_argument("--held-out", type=float, default=0.0, metavar="SHARE", help="for server/")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing but errors")
    chosen = parser.parse_args(arguments)
    if not 1 <= chosen.devices <= MOST_DEVICES:
        parser.error(f"--devices: {chosen.devices} is not between 1 and {MOST_DEVICES}")
    if not 0 <= chosen.held_out < 1:
        parser.error(f"--held-out: {chosen.held_out} is not a share from 0 to below 1")
    if chosen.target.exists():
        parser.error(f"{chosen.target} exists; choose another folder, or remove it")
    try:
        units = open_units(chosen.source)
        places = assign(units, chosen.devices, chosen.by, chosen.held_out, chosen.seed)
        for place in sorted(set(places.tolist())):
            name = "server" if place == HELD_OUT else f"device-{place + 1}"
            rows = np.flatnonzero(places == place)
            units.write(chosen.target / name, rows)
            classes = len(np.unique(units.labels[rows]))
            if not chosen.quiet:
                print(f"{chosen.target / name}: {len(rows)} {units.what} of {classes} classes")
    except EdgeveilError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return int(error.exit_code)
    return 0


if __name__ == "__main__":
    sys.exit(main())
