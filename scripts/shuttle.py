"""Shuttle (UCI Statlog, NASA): 58,000 rows of nine sensors in seven states, from Debian's package r-cran-mlbench.

The package is GPL-2; the data are UCI's, given away for any use. R is not needed: the file is read by rdata
1.1.0 of PyPI. python scripts/shuttle.py FOLDER writes an .npz file beside a schema.toml.
"""

import argparse
import hashlib
import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_path

from edgeveil.shared.base.errors import DataError

CACHE = user_cache_path("edgeveil") / "rdata"
PLACES = ("/usr/lib/R/site-library", "/usr/lib/R/library")
FILE = "mlbench/data/Shuttle.rda"
SHA256 = "5b1db218b76a47c83f575f1ff38d7a7d36e569b0e27d8bf4aa92eae6c0bcb826"
STATES = ("Rad.Flow", "Fpv.Close", "Fpv.Open", "High", "Bypass", "Bpv.Close", "Bpv.Open")
# They stand for a data sheet: chosen with a look at all rows, since none was found.
RANGES = ((0, 150), (-5000, 5100), (0, 160), (-4000, 4000), (-200, 500), (-30000, 16000), (-100, 150), (-400, 400), (-400, 400))  # fmt: skip
SET_POINTS = ((45, 10), (0, 5), (80, 10), (0, 5), (35, 20), (0, 10), (40, 10), (45, 20), (0, 10))
COLUMNS = ", ".join(f"s{at} {low}..{high}" for at, (low, high) in enumerate(RANGES, 1))
SIGNED_LOG = ", ".join(
    f"s{at} {middle}/{scale}" for at, (middle, scale) in enumerate(SET_POINTS, 1)
)
Rows = tuple[NDArray[np.float32], NDArray[np.int64]]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cache", type=Path, default=CACHE, help="for rdata")
    chosen = parser.parse_args()
    try:
        write(chosen.folder, read(chosen.cache))
    except DataError as error:
        sys.exit(error.message)
    return 0


def read(cache: Path) -> Rows:
    """Every row in the file's order, and the index of its state; raises DataError where the file is not there."""
    found = [place for place in (Path(each) / FILE for each in PLACES) if place.is_file()]
    if not found:
        raise DataError("Shuttle is not here; run: apt-get install r-cran-mlbench")
    data = found[0].read_bytes()
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise DataError(f"{found[0]}: not the Shuttle.rda of r-cran-mlbench 2.1")
    table = _rdata(cache).read_rda(found[0])["Shuttle"]
    values = np.stack([np.asarray(table[name], np.float32) for name in table.columns[:-1]], axis=1)
    places = {name: at for at, name in enumerate(STATES)}
    return values, np.array([places[name] for name in table["Class"]], np.int64)


def write(folder: Path, rows: Rows) -> Path:
    """As an owner's own data would lie."""
    folder.mkdir(parents=True, exist_ok=True)
    sections = [f'[[columns]]\nname = "s{at}"\nrange = [{low}, {high}]\n' for at, (low, high) in enumerate(RANGES, 1)]  # fmt: skip
    names = ", ".join(f'"{name}"' for name in STATES)
    sections.append(f'[[columns]]\nname = "state"\nrole = "label"\nlabels = [{names}]\n')
    (folder / "schema.toml").write_text("\n".join(sections))
    np.savez(folder / "d.npz", X=rows[0], y=rows[1])
    return folder


def _rdata(cache: Path) -> Any:
    if not (cache / "rdata").is_dir():
        command = [sys.executable, "-m", "pip", "install", "-q", "--target", str(cache), "rdata==1.1.0"]  # fmt: skip
        subprocess.run(command, check=True)
    sys.path.append(str(cache))  # behind what is installed
    return importlib.import_module("rdata")


if __name__ == "__main__":
    sys.exit(main())
