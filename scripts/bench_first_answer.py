"""Whether the time of a first answer tells what is in a data set: the same offers over differing folders.

Each device has as many photos; what differs is whether some are large, and under which label. Offers are
such that nothing is charged: a misfit, and one whose clip norm the policy refuses after the schema was
compared. python scripts/bench_first_answer.py [--repeats 30]
"""

import argparse
import contextlib
import logging
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/benches"))

from fakes_federation import POLICY, Federation, plan_for

from edgeveil.agent.home.records.record_policy import DataPolicy
from edgeveil.coordinator.rounds.driver import RunFailed
from edgeveil.shared.wire.messages import Stage

LABELS = ("cat", "dog")
SMALL, LARGE = (64, 64), (3000, 4000)
SETS = {  # photos of cats and dogs, and how large those of dogs are
    "no dog": (12, 0, SMALL),
    "one dog, 12 megapixels": (11, 1, LARGE),
    "twelve dogs, 12 megapixels": (0, 12, LARGE),
    "half of each, small": (6, 6, SMALL),
}
OFFERS = {
    "misfit": {"task__options": {"variant": "fixed", "classes": 2, "labels": "dog,owl"}},
    "refused by policy": {
        "task__options": {"variant": "fixed", "classes": 2, "labels": "dog,cat"},
        "training__clip_norm": 11.0,
    },
}


def photos(folder: Path, cats: int, dogs: int, size: tuple[int, int]) -> Path:
    random = np.random.default_rng(1)
    for name, count, shape in (("cat", cats, SMALL), ("dog", dogs, size)):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = random.integers(0, 256, shape, dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def answer(pieces: list[Path], changes: dict[str, object]) -> float:
    """Milliseconds of an agent's answer to the first offer it ever gets, after it has started."""
    with tempfile.TemporaryDirectory() as folder:
        policy = POLICY.model_copy(update={"data": DataPolicy(height=28, width=28, labels=LABELS)})
        federation = Federation(folder, agents=3, policy=policy, pieces=pieces)
        for session in federation.sessions.values():
            session._device.shelf.fill()  # noqa: SLF001 - what `agent run` does before it connects
        federation.wire.silent = dict.fromkeys(federation.sessions, Stage.ROUND)
        with contextlib.suppress(RunFailed):
            federation.train(plan_for(3, rounds__count=1, rounds__attempts=1, **changes), ask=False)
        agent, request = federation.wire.requests[0]
        started = time.perf_counter()
        reply = federation.sessions[agent].handle(request)
        took = (time.perf_counter() - started) * 1000
        federation.close()
        if reply.refusal is None:
            raise SystemExit("the offer was meant to be refused")
        return took


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=30)
    repeats = parser.parse_args().repeats
    logging.disable(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        sets = {
            name: photos(Path(folder) / str(place), *what)
            for place, (name, what) in enumerate(SETS.items())
        }
        for offer, changes in OFFERS.items():
            found: dict[str, list[float]] = {name: [] for name in sets}
            answer([next(iter(sets.values()))] * 4, changes)  # imports and caches
            for _ in range(repeats):  # in turn, so that a busy machine hits all alike
                for name, path in sets.items():
                    found[name].append(answer([path] * 4, changes))
            for name, times in found.items():
                spread = statistics.quantiles(times, n=10)
                print(
                    f"{offer}, {name}: median {statistics.median(times):.2f} ms, "
                    f"{spread[0]:.2f} to {spread[-1]:.2f} (10 to 90 %)",
                    flush=True,
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
