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

try:
    from edgeveil.coordinator.simulation.partition import HELD_OUT, assign, check_way
    from edgeveil.coordinator.simulation.units import open_units
    from edgeveil.shared.base.errors import ConfigError, EdgeveilError
except ModuleNotFoundError as error:
    sys.exit(f'{error.name} is missing; run: pip install -e ".[dev]"')

MOST_DEVICES = 1000


def chosen_way(text: str) -> str:
    try:
        return check_way(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(error.message) from error


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
