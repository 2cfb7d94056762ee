"""Colour photos of three classes for devices to try Edgeveil with: DIR/device-1/photos/bag/0001.jpg and so on.

    python scripts/make_photos.py DIR --devices 3 --photos 200

Real pictures of clothes (Fashion-MNIST, MIT), each pasted in a colour of its own, at its own size and place,
onto a coloured background, and stored as a camera would: JPEG, some of them turned by their EXIF tag. No
picture is used twice. DIR/server/photos holds as many for the coordinator to measure with, from the official
test images. The same command makes the same photos.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests/benches")]

try:
    from PIL import Image
    from public_data_bench import fashion_mnist

    from edgeveil.shared.base.errors import ConfigError, EdgeveilError
except ModuleNotFoundError as error:
    sys.exit(f'{error.name} is missing; run: pip install -e ".[dev]"')

CLASSES = {"bag": 8, "boot": 9, "trousers": 1}
SEED = 7
MOST = 6000  # pictures of a class there are
TURNED = {
    1: 0,
    3: 180,
    6: 270,
    8: 90,
}  # EXIF orientation: degrees, counter-clockwise, to show it upright


def photo(item: NDArray[np.uint8], random: np.random.Generator) -> Image.Image:
    """`item` (28, 28) grey on black, as something coloured in front of something else."""
    side = int(random.integers(96, 161))
    top, bottom = random.integers(40, 216, (2, 3))
    ramp = np.linspace(0, 1, side)[:, None, None]
    scene = (top * (1 - ramp) + bottom * ramp) + random.normal(0, 6, (side, side, 3))
    width = int(side * random.uniform(0.7, 0.95))
    shown = Image.fromarray(item).resize((width, width), Image.Resampling.BICUBIC)
    mask = (np.asarray(shown, np.float64) / 255)[:, :, None]
    tint = random.choice([np.array(top) - 255, 255 - np.array(top)]) % 256
    left, above = random.integers(0, side - width + 1, 2)
    part = scene[above : above + width, left : left + width]
    covered = np.clip(mask * 4, 0, 1)  # what is not black belongs to it
    part[:] = part * (1 - covered) + tint * (0.35 + 0.65 * mask) * covered
    return Image.fromarray(np.clip(scene, 0, 255).astype(np.uint8))


def write(folder: Path, items: NDArray[np.uint8], random: np.random.Generator) -> None:
    """`items` (N, 28, 28) as folder/0001.jpg …"""
    folder.mkdir(parents=True)
    for number, item in enumerate(items, 1):
        orientation = int(random.choice(list(TURNED), p=[0.7, 0.1, 0.1, 0.1]))
        stored = photo(item, random).rotate(-TURNED[orientation])
        tags = Image.Exif()
        tags[0x0112] = orientation
        stored.save(folder / f"{number:04}.jpg", quality=88, exif=tags)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("dir", type=Path)
    parser.add_argument("--devices", type=int, default=3)
    parser.add_argument("--photos", type=int, default=200, help="of each class, on each device")
    parser.add_argument("--test", type=int, default=100, help="of each class, on the server")
    wanted = parser.parse_args()
    if (
        wanted.devices < 1
        or not 1 <= wanted.devices * wanted.photos <= MOST
        or not 1 <= wanted.test <= 1000
    ):
        raise ConfigError(f"devices × photos may be 1 to {MOST}, --test 1 to 1000")
    if wanted.dir.exists():
        raise ConfigError(f"{wanted.dir} is there already; name a new folder")
    train, test = fashion_mnist("train"), fashion_mnist("test")
    random = np.random.default_rng(SEED)
    for name, index in CLASSES.items():
        rows = random.permutation(np.flatnonzero(train.labels == index))
        for device in range(wanted.devices):
            mine = rows[device * wanted.photos : (device + 1) * wanted.photos]
            write(wanted.dir / f"device-{device + 1}/photos" / name, train.pixels[mine], random)
        held = np.flatnonzero(test.labels == index)[: wanted.test]
        write(wanted.dir / "server/photos" / name, test.pixels[held], random)
    print(
        f"{wanted.devices} × {wanted.photos} photos of each of {', '.join(CLASSES)} in {wanted.dir}"
    )


if __name__ == "__main__":
    try:
        main()
    except EdgeveilError as error:
        sys.exit(str(error))
