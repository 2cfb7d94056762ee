"""Moving scenes with known truth: real pictures of clothes that cross a made background on several lanes.

The truth of every frame, and of every crossing of a line, follows from each thing's lane, speed and start.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scenes_bench import CLASSES, Camera, items_of, paste, sized

WIDE, HIGH = 320, 192
RATE = 10.0  # frames a second
LANE, FIRST = (
    30,
    40,
)  # y of the first lane's middle, and of each further one; every other one goes back
LINE_X = 0.5  # of the width: the line stands upright


@dataclass(frozen=True, eq=False)
class Mover:
    label: str
    item: np.ndarray
    lane: int
    start_s: float
    speed: float  # pixels a second, negative to the left
    colour: np.ndarray
    street_wide: int = WIDE

    def corners(self, at_s):
        """(x1, y1, x2, y2), perhaps outside of the frame; None before it starts."""
        high, wide = self.item.shape
        gone = (at_s - self.start_s) * abs(self.speed)
        if gone < 0 or gone > self.street_wide + wide:
            return None
        left = gone - wide if self.speed > 0 else self.street_wide - gone
        top = self.lane - high / 2
        return left, top, left + wide, top + high

    @property
    def crosses_s(self):
        """When its middle is on the line."""
        wide = self.item.shape[1]
        return self.start_s + (self.street_wide * LINE_X + wide / 2) / abs(self.speed)


@dataclass(frozen=True, eq=False)
class Street:
    movers: list
    seconds: float
    wide: int = WIDE
    high: int = HIGH

    @property
    def frames(self):
        return int(self.seconds * RATE)

    def truth(self, at_s):
        """(label, corners cut to the frame) of everything of which at least a half is seen."""
        for mover in self.movers:
            corners = mover.corners(at_s)
            if corners is None:
                continue
            x1, y1, x2, y2 = corners
            cut = max(0.0, x1), max(0.0, y1), min(float(self.wide), x2), min(float(self.high), y2)
            if (cut[2] - cut[0]) >= (x2 - x1) / 2:
                yield mover.label, cut

    def crossings(self):
        """How many go to the right, and how many to the left."""
        done = [mover for mover in self.movers if mover.crosses_s < self.seconds]
        right = sum(mover.speed > 0 for mover in done)
        return right, len(done) - right

    def pictures(self, seed=1):
        """Every frame (high, wide, 3), 8 bits."""
        random = np.random.default_rng(seed)
        camera = Camera.of(1)
        ground = camera.ground(random, max(self.wide, self.high))[: self.high, : self.wide]
        for number in range(self.frames):
            scene = ground.copy()
            for mover in self.movers:
                corners = mover.corners(number / RATE)
                if corners is not None:
                    at = round(corners[0]), round(corners[1])
                    paste(scene, mover.item, at, mover.colour)
            yield camera.seen(scene, random)


def street(seed=1, seconds=240.0, count=160, wide=WIDE, high=HIGH, *, busy=False):
    """Things of all classes that cross in 4 to 11 seconds, never two on one lane at once.

    `busy`: no lane is free for longer than two seconds.
    """
    random = np.random.default_rng(seed)
    items = items_of(CLASSES, "test", most=50)
    lanes = range(FIRST, high - LANE + 1, LANE)
    free_s = dict.fromkeys(range(len(lanes)), 0.0)
    movers = []
    for _ in range(count):
        lane = int(random.integers(len(lanes)))
        index = int(random.integers(len(CLASSES)))
        item = sized(items.draw(index, random), int(random.integers(18, 29)), random)
        speed = float(random.uniform(30, 90)) * wide / WIDE
        if busy:
            start = free_s[lane] + random.uniform(0, 2)
        else:
            start = max(free_s[lane], random.uniform(0, seconds))
        # The next on this lane starts when this one has left: nobody overtakes.
        free_s[lane] = start + (wide + item.shape[1]) / speed
        if start > seconds:
            continue
        colour = random.uniform(20, 240, 3).astype(np.float32)
        way = 1 if lane % 2 == 0 else -1
        made = Mover(CLASSES[index], item, lanes[lane], start, way * speed, colour, wide)
        if abs(made.crosses_s - seconds) > 2:  # nobody is just on the line at the end
            movers.append(made)
    return Street(movers, seconds, wide, high)


@dataclass
class Sloppy:
    """A detector of perfect boxes that shakes them, misses some, calls some by another name and sees what is not there."""

    street: Street
    seed: int = 1
    shaking: float = 0.08  # of a side
    misses: float = 0.15
    confused: float = 0.05
    ghosts: float = 0.1  # a frame

    def __post_init__(self):
        self.random = np.random.default_rng((self.seed, 9))

    def __call__(self, at_s):
        from edgeveil.agent.inference.video.tracking import Found

        random, found = self.random, []
        for label, corners in self.street.truth(at_s):
            if random.random() < self.misses:
                continue
            sides = np.array([corners[2] - corners[0], corners[3] - corners[1]] * 2)
            shaken = np.array(corners) + random.normal(0, self.shaking, 4) * sides
            name = str(random.choice(CLASSES)) if random.random() < self.confused else label
            found.append(Found(name, float(random.uniform(0.4, 1)), tuple(shaken.tolist())))
        if random.random() < self.ghosts:
            x, y = (
                random.uniform(0, self.street.wide - 20),
                random.uniform(0, self.street.high - 20),
            )
            found.append(Found("bag", float(random.uniform(0.3, 0.6)), (x, y, x + 20, y + 20)))
        return found


def write_video(path: Path, pictures, rate=RATE):
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=int(rate))
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = WIDE, HIGH, "yuv420p", 4_000_000  # fmt: skip
        for pixels in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
