"""Small real inputs for the tests of tasks, data adapters and the model files."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
from PIL import Image

from edgeveil.shared.tasks.registry import load, newest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"

# (task, variant, parameters for 28×28 and ten classes); every variant of the catalogue is here.
VARIANTS = [
    ("feature-head", "fixed", 5_890),
    ("image-classification", "cnn", 20_586),
    ("image-classification", "linear", 7_850),
]


def task_and_options(task_id: str, variant: str, **options: int | str):
    task = load(newest(task_id))
    return task, task.parse_options({"variant": variant, **options})


def grey_digits(count: int, *, side: int = 28, classes: int = 10):
    """Noise on a bright bar whose place is the class: uint8 (count, side, side) and labels."""
    random = np.random.default_rng(5)
    labels = np.arange(count) % classes
    pixels = random.integers(0, 80, (count, side, side), dtype=np.uint8)
    for row, label in enumerate(labels):
        pixels[row, 2 * label + 2 : 2 * label + 5, 4:24] = 250
    return pixels, labels.astype(np.int64)


def write_npz(path: Path, **arrays: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)
    return path


def write_png(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def script(name: str) -> ModuleType:
    """Import scripts/NAME.py by its path, with its sibling scripts importable as for `python`."""
    if str(SCRIPTS) not in sys.path:
        sys.path.insert(0, str(SCRIPTS))
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
