"""Moments of a smart home for devices to try Edgeveil with: a picture and a command each, which together are an order.

    python scripts/make_moments.py DIR --devices 4 --moments 60

DIR/device-1/records.csv names a photo of a bag, a boot or trousers as scripts/make_photos.py composes them
(Fashion-MNIST, MIT) and "open" or "close", said by voices of espeak-ng as in scripts/make_commands.py, and the order
that both make: open-bag, close-boot and so on. Neither tells more than half of it alone. Nobody speaks and
nobody was photographed: figures on them say how this program learns. DIR/server holds other pictures, said to by
voices that no device has. The same command and version of espeak-ng make the same files.
"""

import argparse
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import make_commands as commands
import make_photos as photos
import numpy as np
from numpy.typing import NDArray

THINGS = photos.CLASSES
WORDS = ("close", "open")
SEED = 21
Pictures = NDArray[np.uint8]


def orders() -> Iterator[tuple[str, str]]:
    yield from ((word, thing) for word in WORDS for thing in THINGS)


def write(folder: Path, things: dict[str, Pictures], group: commands.Group, seed: int) -> None:
    """A record of each picture, half of each thing with one word and half with the other."""
    random = np.random.default_rng((SEED, seed))
    lines = ["image,sound,label"]
    for thing, pixels in things.items():
        for number, item in enumerate(pixels):
            word, name = WORDS[number % len(WORDS)], f"{thing}-{number + 1:04}"
            seen, heard = folder / "seen" / f"{name}.jpg", folder / "heard" / f"{name}.wav"
            seen.parent.mkdir(parents=True, exist_ok=True)
            photos.photo(item, random).save(seen, quality=88)
            commands.write(heard, _said(word, group, random))
            lines.append(f"seen/{name}.jpg,heard/{name}.wav,{word}-{thing}")
    (folder / "records.csv").write_text("\n".join(lines) + "\n")


def _said(word: str, group: commands.Group, random: np.random.Generator) -> NDArray[np.float64]:
    voice, accent = (str(random.choice(names)) for names in (group.voices, group.accents))
    pitch = int(random.integers(*commands.PITCH))
    speed = int(random.integers(*commands.WORDS_A_MINUTE))
    spoken = commands.spoken(word, f"{accent}+{voice}", pitch, speed)
    return commands.noisy(commands.recording(spoken, random), random)


def make(folder: Path, devices: int, moments: int, test: int) -> None:
    """`moments` of each order on each device, `test` on the server."""
    train, held = photos.fashion_mnist("train"), photos.fashion_mnist("test")
    homes, _, strangers = commands.groups(devices)
    each = moments * len(WORDS)
    for at, home in enumerate(homes):
        mine = {
            thing: train.pixels[np.flatnonzero(train.labels == index)[at * each : (at + 1) * each]]
            for thing, index in THINGS.items()
        }
        write(folder / f"device-{at + 1}", mine, home, at)
    others = {
        thing: held.pixels[np.flatnonzero(held.labels == index)[: test * len(WORDS)]]
        for thing, index in THINGS.items()
    }
    write(folder / "server", others, strangers, len(homes))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("dir", type=Path)
    parser.add_argument("--devices", type=int, default=4)
    parser.add_argument("--moments", type=int, default=60, help="of each order, on each device")
    parser.add_argument("--test", type=int, default=40, help="of each order, on the server")
    wanted = parser.parse_args()
    if not shutil.which(commands.PROGRAM):
        sys.exit(f"{commands.PROGRAM} is missing; on Debian: apt-get install {commands.PROGRAM}")
    if wanted.dir.exists():
        sys.exit(f"{wanted.dir} is there already; name a new folder")
    if wanted.devices * wanted.moments * len(WORDS) > photos.MOST or not 1 <= wanted.test <= 500:
        sys.exit("there are 6,000 pictures of a thing to train with, and 1,000 to test")
    make(wanted.dir, wanted.devices, wanted.moments, wanted.test)
    print(f"{wanted.devices} × {wanted.moments} moments of each of {', '.join('-'.join(each) for each in orders())} in {wanted.dir}")  # fmt: skip


if __name__ == "__main__":
    main()
