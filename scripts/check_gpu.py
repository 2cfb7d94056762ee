"""Whether an accelerator trains as the processor does: the same clipped sums, and updates that differ by noise alone.

For a machine with one; without, it says so and ends with 69. Nothing of it runs in CI, which has none.
python scripts/check_gpu.py [--device auto|cuda|mps]
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests/benches")]

try:
    import torch
    from catalogue_bench import VARIANTS, task_and_options

    from edgeveil.agent.home.config import ComputeConfig
    from edgeveil.agent.training.compute import CPU, Compute, described
    from edgeveil.agent.training.training import train
    from edgeveil.shared.base.errors import EdgeveilError
    from edgeveil.shared.tasks.backbone import asset
    from edgeveil.shared.tasks.backbone.embedding import embed
    from edgeveil.shared.tasks.modules import read_vector
    from edgeveil.shared.tasks.records import ArrayRecords
    from edgeveil.shared.wire.plan import TrainingPlan
except ModuleNotFoundError as error:
    sys.exit(f'{error.name} is missing; run: pip install -e ".[dev]"')

NONE_HERE = 69
RECORDS, STEPS = 400, 5
WITHIN = 1e-3  # of the length of an update, without noise: rounding of float32 convolutions
ALIKE = 1e-2  # between numbers of one picture


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", choices=("auto", "cuda", "mps"), default="auto")
    chosen = parser.parse_args()
    try:
        compute = Compute.settle(ComputeConfig(device=chosen.device))
    except EdgeveilError as error:
        print(error.message, file=sys.stderr)
        return NONE_HERE
    if compute == CPU:
        print("torch sees no accelerator here; nothing was checked", file=sys.stderr)
        return NONE_HERE
    print(f"on {described(compute.device)}")
    verdicts = [_say(*found) for found in (*_updates(compute), *_numbers(compute))]
    return 0 if all(verdicts) else 1


def _say(what: str, away: float, most: float, here_s: float, there_s: float) -> bool:
    good = away <= most
    print(
        f"{'ok' if good else 'WRONG'}: {what}: {away:.2e} away, at most {most:g}; "
        f"{here_s:.2f} s on the processor, {there_s:.2f} s there"
    )
    return good


def _updates(compute: Compute) -> Iterator[tuple[str, float, float, float, float]]:
    """Each variant of the catalogue in each gradient mode, without noise, on both."""
    for task_id, variant, _ in VARIANTS:
        for mode in ("hooks", "ghost", "single"):
            here, here_s = _timed(lambda: _update(task_id, variant, mode, CPU))  # noqa: B023 - called at once
            there, there_s = _timed(lambda: _update(task_id, variant, mode, compute))  # noqa: B023
            away = float(np.linalg.norm(there - here) / np.linalg.norm(here))
            yield f"{task_id} {variant} {mode}", away, WITHIN, here_s, there_s


def _update(task_id: str, variant: str, mode: str, compute: Compute) -> np.ndarray:
    task, options = task_and_options(task_id, variant)
    inputs, targets = task.probe(RECORDS, torch.Generator().manual_seed(1), options)
    tensors = task.tensors(options)
    plan = TrainingPlan(
        rounds=1,
        steps=STEPS,
        sample_rate=1.0,
        clip_norm=0.5,
        noise_multiplier=1.0,
        learning_rate=0.5,
        delta=1e-5,
        options={"variant": variant},
    )
    with patch(
        "edgeveil.agent.training.engines.optimizer.gaussian",
        lambda count, _std: np.zeros(count),
    ):
        result = train(
            task,
            options,
            ArrayRecords(inputs.numpy(), targets.numpy()),
            read_vector(task.build(options), tensors),
            tensors,
            plan,
            RECORDS,
            modes=(mode,),
            compute=compute,
        )
    return result.update


def _numbers(compute: Compute) -> Iterator[tuple[str, float, float, float, float]]:
    """What the frozen network makes of pictures, where its weights are installed."""
    if not asset.installed():
        print(f"{asset.NAME} is not installed; left out")
        return
    pixels = np.random.default_rng(2).random((64, 128, 128, 3)).astype(np.float32)
    here, here_s = _timed(lambda: embed(pixels))
    there, there_s = _timed(lambda: embed(pixels, compute.device))
    away = float(np.linalg.norm(here - there, axis=1).max())
    yield f"{asset.NAME}, 64 pictures of 128 px", away, ALIKE, here_s, there_s


def _timed(work: Callable[[], np.ndarray]) -> tuple[np.ndarray, float]:
    began = time.monotonic()
    found = work()
    return found, time.monotonic() - began


if __name__ == "__main__":
    sys.exit(main())
