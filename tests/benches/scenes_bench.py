"""Composed scenes: real pictures of clothes (Fashion-MNIST, MIT) pasted at known places onto made backgrounds.

Stands in for a data set of vehicles with boxes, of which no free one was found: the truth is exact, and the
pictures are easier than a street. Everything follows from the seeds. No picture is pasted by two sources.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from public_data_bench import PublicImages, fashion_mnist

NAMES = (
    "t-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot",
)  # fmt: skip
CLASSES = ("trousers", "sneaker", "bag")  # of the private scenes, told apart by shape and size
OTHER_CLASSES = ("t-shirt", "dress", "coat", "sandal", "boot")  # for a public body
SIDE = 128
SEED = 7
INK = 24  # of 255: what is darker than this in a picture of clothes is its background
EMPTY = 0.06  # of the scenes
MOST_ITEMS = 5
UNSEEN = 2  # cameras of the test set alone
SMALLEST, LARGEST = 16, 60  # pixels of an item's longer side, of a scene of SIDE
MOST_OVERLAP = 0.25  # of the smaller of two items

Pixels = NDArray[np.uint8]
Boxes = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """`pixels` (side, side, 3) red, green, blue; `boxes` (M, 5): class, then x1, y1, x2, y2 in pixels."""

    pixels: Pixels
    boxes: Boxes


@dataclass(frozen=True, slots=True, eq=False)
class Items:
    """Cut-out pictures of each class, in 0..1, as high and wide as what they show."""

    cut: tuple[tuple[NDArray[np.float32], ...], ...]

    def draw(self, index: int, random: np.random.Generator) -> NDArray[np.float32]:
        mine = self.cut[index]
        return mine[int(random.integers(len(mine)))]


@dataclass(frozen=True, slots=True)
class Camera:
    """What its pictures have in common: colours, texture, light and noise; from its number alone."""

    number: int
    colours: tuple[tuple[float, float, float], tuple[float, float, float]]
    grain: tuple[int, int]  # patches of coarse and fine texture along a side
    contrast: float  # of the texture, in grey values
    stripes: tuple[float, float, float]  # angle in radians, periods along a side, grey values
    noise: float  # of the sensor, in grey values
    tint: float  # how far an item's colour stands off the ground's, in grey values

    @classmethod
    def of(cls, number: int, seed: int = SEED) -> "Camera":
        random = np.random.default_rng((seed, number, 1))
        upper, lower = random.uniform(50, 190, (2, 3))
        return cls(
            number=number,
            colours=(tuple(upper), tuple(lower)),
            grain=(int(random.integers(3, 7)), int(random.integers(12, 33))),
            contrast=float(random.uniform(8, 22)),
            stripes=(
                float(random.uniform(0, np.pi)),
                float(random.uniform(3, 9)),
                float(random.uniform(0, 16)),
            ),
            noise=float(random.uniform(2, 7)),
            tint=float(random.uniform(60, 100)),
        )

    def ground(self, random: np.random.Generator, side: int = SIDE) -> NDArray[np.float32]:
        """A background (side, side, 3), still without noise."""
        upper, lower = (np.array(each) + random.normal(0, 8, 3) for each in self.colours)
        ramp = np.linspace(0, 1, side)[:, None, None]
        made = upper * (1 - ramp) + lower * ramp
        for patches, share in zip(self.grain, (0.7, 0.5), strict=True):
            made = made + self.contrast * share * _texture(patches, side, random)[:, :, None]
        angle, periods, depth = self.stripes
        rows, columns = np.mgrid[0:side, 0:side] / side
        along = rows * np.cos(angle) + columns * np.sin(angle)
        wave = np.sign(np.sin(2 * np.pi * periods * along + random.uniform(0, 6)))
        made = made + depth * wave[:, :, None]
        return (made * random.uniform(0.85, 1.15)).astype(np.float32)

    def seen(self, scene: NDArray[np.float32], random: np.random.Generator) -> Pixels:
        """As the sensor gives it: with noise, in 8 bits."""
        return np.clip(scene + random.normal(0, self.noise, scene.shape), 0, 255).astype(np.uint8)

    def paint(
        self, scene: NDArray[np.float32], at: tuple[int, int], random: np.random.Generator
    ) -> NDArray[np.float32]:
        """A colour (3,) for an item there, which stands off the ground."""
        x, y = at
        ground = scene[y, x]
        away = random.normal(0, 1, 3)
        away = away / np.linalg.norm(away) * self.tint * random.uniform(1.0, 1.6)
        colour = np.where(
            (ground + away > 235) | (ground + away < 20), ground - away, ground + away
        )
        return np.clip(colour, 10, 245).astype(np.float32)


def items_of(
    classes: tuple[str, ...], part: str, source: int = 0, sources: int = 1, most: int = 1000
) -> Items:
    """Every `sources`-th picture of "train" or "test", from the `source`-th on: disjoint among sources."""
    all_of_them = fashion_mnist(part)
    return Items(
        tuple(_cut(all_of_them, NAMES.index(name), source, sources, most) for name in classes)
    )


def compose(camera: Camera, items: Items, random: np.random.Generator, side: int = SIDE) -> Scene:
    """One scene of none to MOST_ITEMS items, which overlap little, on a background of their own."""
    scene = camera.ground(random, side)
    count = 0 if random.random() < EMPTY else int(random.integers(1, MOST_ITEMS + 1))
    boxes: list[tuple[float, ...]] = []
    for _ in range(count):
        index = int(random.integers(len(items.cut)))
        item = sized(items.draw(index, random), _length(side, random), random)
        high, wide = item.shape
        for _ in range(20):  # tries for a free place
            x, y = int(random.integers(side - wide + 1)), int(random.integers(side - high + 1))
            box = (float(index), float(x), float(y), float(x + wide), float(y + high))
            if all(_overlap(box, other) <= MOST_OVERLAP for other in boxes):
                colour = camera.paint(scene, (x + wide // 2, y + high // 2), random)
                paste(scene, item, (x, y), colour)
                boxes.append(box)
                break
    return Scene(camera.seen(scene, random), np.array(boxes, dtype=np.float32).reshape(-1, 5))


def scenes(
    camera: Camera, items: Items, count: int, seed: int = SEED, side: int = SIDE
) -> list[Scene]:
    random = np.random.default_rng((seed, camera.number, 2))
    return [compose(camera, items, random, side) for _ in range(count)]


def dealt(
    classes: tuple[str, ...] = CLASSES,
    *,
    cameras: int = 4,
    count: int = 150,
    held: int = 120,
    seed: int = SEED,
    side: int = SIDE,
) -> dict[str, list[Scene]]:
    """camera-1 … of `count` scenes each; validation (the same cameras) and test, of `held` scenes in all.

    Test scenes are of the same cameras and of UNSEEN others, from the official test pictures.
    """
    sources = 2 * cameras  # of training pictures: a camera's own, and its validation's
    made: dict[str, list[Scene]] = {}
    for at in range(cameras):
        items = items_of(classes, "train", at, sources)
        made[f"camera-{at + 1}"] = scenes(Camera.of(at + 1, seed), items, count, seed, side)
    made["validation"], made["test"] = [], []
    for at in range(cameras):
        items = items_of(classes, "train", cameras + at, sources)
        some = _share(held, at, cameras)
        made["validation"] += scenes(Camera.of(at + 1, seed), items, some, seed + 1, side)
    everybody = cameras + UNSEEN
    for at in range(everybody):
        items = items_of(classes, "test", at, everybody)
        some = _share(held, at, everybody)
        made["test"] += scenes(Camera.of(at + 1, seed), items, some, seed + 2, side)
    return made


def as_records(found: list[Scene]) -> tuple[Pixels, list[Boxes]]:
    """What a task is given: pixels (N, 3, side, side), and the boxes (M, 5) of each."""
    pixels = np.stack([scene.pixels for scene in found]).transpose(0, 3, 1, 2)
    return np.ascontiguousarray(pixels), [scene.boxes for scene in found]


def sized(
    item: NDArray[np.float32], longer: int, random: np.random.Generator | None = None
) -> NDArray[np.float32]:
    """The item with its longer side at so many pixels, perhaps mirrored; still as large as what it shows."""
    scale = longer / max(item.shape)
    high, wide = (max(4, round(each * scale)) for each in item.shape)
    if random is not None and random.random() < 0.5:
        item = item[:, ::-1]
    grown = Image.fromarray(item).resize((wide, high), Image.Resampling.BILINEAR)
    return np.asarray(grown, dtype=np.float32)


def paste(
    scene: NDArray[np.float32],
    item: NDArray[np.float32],
    at: tuple[int, int],
    colour: NDArray[np.float32],
) -> None:
    """Onto the scene, in place, with the left upper corner `at` (x, y), which may lie outside."""
    x, y = at
    high, wide = item.shape
    top, left = max(0, -y), max(0, -x)
    bottom, right = min(high, scene.shape[0] - y), min(wide, scene.shape[1] - x)
    if bottom <= top or right <= left:
        return
    seen = item[top:bottom, left:right, None]
    part = scene[y + top : y + bottom, x + left : x + right]
    covered = np.clip(seen * 5, 0, 1)  # what is not black belongs to it
    part[:] = part * (1 - covered) + colour * (0.45 + 0.55 * seen) * covered


def _share(count: int, at: int, of: int) -> int:
    """Of `count`, as evenly as whole numbers allow."""
    return count * (at + 1) // of - count * at // of


def _cut(
    pictures: PublicImages, label: int, source: int, sources: int, most: int
) -> tuple[NDArray[np.float32], ...]:
    rows = np.flatnonzero(pictures.labels == label)[source::sources][:most]
    return tuple(_trimmed(pictures.pixels[row]) for row in rows)


def _trimmed(picture: Pixels) -> NDArray[np.float32]:
    """Without its empty margins."""
    inked = picture > INK
    rows, columns = np.flatnonzero(inked.any(axis=1)), np.flatnonzero(inked.any(axis=0))
    part = picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return part.astype(np.float32) / 255


def _length(side: int, random: np.random.Generator) -> int:
    """Of an item's longer side: each octave as likely."""
    least, most = np.log(SMALLEST), np.log(LARGEST)
    return round(float(np.exp(random.uniform(least, most))) * side / SIDE)


def _texture(patches: int, side: int, random: np.random.Generator) -> NDArray[np.float32]:
    """Smooth random values (side, side), about normal."""
    coarse = random.normal(0, 1, (patches, patches)).astype(np.float32)
    grown = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(grown, dtype=np.float32)


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Shared area, as a share of the smaller box."""
    wide = min(one[3], other[3]) - max(one[1], other[1])
    high = min(one[4], other[4]) - max(one[2], other[2])
    areas = [(box[3] - box[1]) * (box[4] - box[2]) for box in (one, other)]
    return max(0.0, wide) * max(0.0, high) / min(areas)
