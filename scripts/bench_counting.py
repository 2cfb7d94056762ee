"""How well things are counted in composed streets of known truth: with a sloppy detector, or with a packaged one.

Streets are moving pictures of clothes on a made background, 10 frames a second, the middle line crossed both ways.
The sloppy detector's boxes are right, but shaken by 8 %, 15 % of them missing, 5 % of another class, and one in ten
frames shows what is not there. A packaged model (trained on scenes of scripts/make_scenes.py) sees the pictures
themselves, at the size of its square.

python scripts/bench_counting.py [--model eyes.evm] [--every 1] [--streets 3] [--seconds 240] [--json]
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests/benches")]

try:
    from moving_bench import HIGH, RATE, WIDE, Sloppy, Street, street

    from edgeveil.agent.inference import load
    from edgeveil.agent.inference.boxes import SHOWN
    from edgeveil.agent.inference.predicting import frame_finder
    from edgeveil.agent.inference.video.counting import Counter, Line
    from edgeveil.agent.inference.video.tracking import Found, Settings, Tracker
except ModuleNotFoundError as error:
    sys.exit(f'{error.name} is missing; run: pip install -e ".[dev]"')

FIRST_SEED = 101  # streets that no setting was chosen on
MIDDLE = Line("middle", (0.5, 0.0), (0.5, 1.0), ("left", "right"))
Frames = Iterator[list[Found]]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--streets", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=240.0)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    began = time.process_time()
    side, frames_of = (WIDE, sloppy) if chosen.model is None else packaged(chosen.model)
    high = side if chosen.model else HIGH
    wrong = there = 0
    for seed in range(FIRST_SEED, FIRST_SEED + chosen.streets):
        made = street(seed, chosen.seconds, round(chosen.seconds * 2 / 3), side, high)
        counted = count(made, frames_of(made, seed, chosen.every), chosen.every)
        wrong += sum(abs(a - b) for a, b in zip(counted, made.crossings(), strict=True))
        there += sum(made.crossings())
    told = {
        "detector": "sloppy" if chosen.model is None else chosen.model.name,
        "frames_per_second": RATE / chosen.every,
        "crossings": there,
        "wrong": wrong,
        "error": round(wrong / there, 4),
        "cpu_seconds": round(time.process_time() - began, 1),
    }
    print(json.dumps(told) if chosen.json else told)
    return 0


def count(made: Street, frames: Frames, every: int) -> tuple[int, int]:
    """To the right, and to the left."""
    tracker, counter = Tracker(Settings(least_score=SHOWN)), Counter([MIDDLE])
    for number, found in enumerate(frames):
        now_s = number * every / RATE
        counter.update(tracker.update(found, now_s), now_s, (made.wide, made.high))
    return counter.tallies[0].of("right"), counter.tallies[0].of("left")


def sloppy(made: Street, seed: int, every: int) -> Frames:
    detect = Sloppy(made, seed)
    return (detect(number / RATE) for number in range(0, made.frames, every))


def packaged(path: Path) -> tuple[int, Callable[[Street, int, int], Frames]]:
    model = load(path)
    find = frame_finder(model)

    def frames(made: Street, seed: int, every: int) -> Frames:
        shown = enumerate(made.pictures(seed))
        return (find(pixels) for number, pixels in shown if number % every == 0)

    return model.input.shape[0], frames


if __name__ == "__main__":
    raise SystemExit(main())
