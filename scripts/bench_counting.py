"""How well things are counted in composed streets of known truth: with a sloppy detector, or with a packaged one.

Streets are moving pictures of clothes on a made background, 10 frames a second, the middle line crossed both ways.
The sloppy detector's boxes are right, but shaken by 8 %, 15 % of them missing, 5 % of another class, and one in ten
frames shows what is not there. A packaged model (trained on scenes of scripts/make_scenes.py) sees the pictures
themselves, at the size of its square, on which there are two lanes, both busy.

Settings may be looked for on streets from --first 1 on; the default ones are kept for the figure.

python scripts/bench_counting.py [--model eyes.evm] [--every 1 --every 2] [--streets 3] [--seconds 240] [--json]
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
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
Frames = list[list[Found]]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path)
    parser.add_argument("--every", type=int, action="append", help="default: 1")
    parser.add_argument("--streets", type=int, default=3)
    parser.add_argument("--first", type=int, default=FIRST_SEED, help="seed of the first street")
    parser.add_argument("--seconds", type=float, default=240.0)
    parser.add_argument("--least-score", type=float, default=SHOWN)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    began = time.process_time()
    paces = chosen.every or [1]
    settings = Settings(least_score=chosen.least_score)
    wrong, there = dict.fromkeys(paces, 0), 0
    for made, found in streets(chosen):
        there += sum(made.crossings())
        for every in paces:
            counted = count(made, found, every, settings)
            wrong[every] += sum(abs(a - b) for a, b in zip(counted, made.crossings(), strict=True))
    spent = round(time.process_time() - began, 1)
    for every in paces:
        told = {
            "detector": "sloppy" if chosen.model is None else chosen.model.name,
            "frames_per_second": RATE / every,
            "crossings": there,
            "wrong": wrong[every],
            "error": round(wrong[every] / there, 4),
            "cpu_seconds": spent,
        }
        print(json.dumps(told) if chosen.json else told)
    return 0


def streets(chosen: argparse.Namespace) -> Iterator[tuple[Street, Frames]]:
    """Each street with what was found in each of its frames."""
    model = None if chosen.model is None else load(chosen.model)
    wide, high = (WIDE, HIGH) if model is None else model.input.shape[1::-1]
    for seed in range(chosen.first, chosen.first + chosen.streets):
        made = street(
            seed, chosen.seconds, round(chosen.seconds * 2 / 3), wide, high, busy=model is not None
        )
        if model is None:
            detect = Sloppy(made, seed)
            yield made, [detect(number / RATE) for number in range(made.frames)]
        else:
            yield made, [*map(frame_finder(model), made.pictures(seed))]


def count(made: Street, frames: Frames, every: int, settings: Settings) -> tuple[int, int]:
    """To the right, and to the left."""
    tracker, counter = Tracker(settings), Counter([MIDDLE])
    for number in range(0, made.frames, every):
        now_s = number / RATE
        counter.update(tracker.update(frames[number], now_s), now_s, (made.wide, made.high))
    return counter.tallies[0].of("right"), counter.tallies[0].of("left")


if __name__ == "__main__":
    raise SystemExit(main())
