"""One prediction at a time: eager torch beside onnxruntime, one thread, the same pictures.

    python scripts/bench_inference.py [--repeats 2000]

Both begin with pixels in 0..1 and end with logits. With torch the task prepares them in numpy, as training
does; a package has that in its graph. CPU time, because a shared machine disturbs it least, and wall time.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/benches"))

from models_bench import pictures, trained

from edgeveil.agent.inference.runtime import open_model
from edgeveil.coordinator.models.export import export
from edgeveil.coordinator.runs import checkpoint
from edgeveil.shared.tasks import registry
from edgeveil.shared.tasks.modules import write_vector

MODELS = {"CNN, 28×28 grey": "image-classification", "feature head, 28×28 grey": "feature-head"}
COUNT = 64  # pictures, in turn


def medians(act: Callable[[int], object], repeats: int) -> tuple[float, float]:
    """(CPU ms, wall ms) of one call, after a tenth of them as a warm-up."""
    for at in range(repeats // 10):
        act(at)
    cpu, wall = [], []
    for at in range(repeats):
        before, began = time.process_time(), time.perf_counter()
        act(at)
        wall.append(time.perf_counter() - began)
        cpu.append(time.process_time() - before)
    return 1e3 * statistics.median(cpu), 1e3 * statistics.median(wall)


def measure(task_id: str, folder: Path, repeats: int) -> dict[str, tuple[float, float]]:
    home, run = trained(folder, task_id)
    made = export(home, run, "last", folder / "model.evm")
    model = open_model(folder / "model.evm", threads=1)
    task = registry.load(registry.newest(task_id))
    options = task.parse_options({})
    module = task.build(options).eval()
    saved = checkpoint.load(home / "runs" / run / "round-0002.safetensors")
    write_vector(module, saved.vector, saved.tensors)
    raw = pictures(COUNT, options.height, options.width).astype(np.float32) / 255

    def eager(at: int) -> object:
        one = raw[at % COUNT : at % COUNT + 1]
        with torch.inference_mode():
            return module(torch.from_numpy(task.inputs(one, options)))

    def packaged(at: int) -> object:
        return model.scores(raw[at % COUNT : at % COUNT + 1])

    print(f"  package of {made['bytes'] / 1e3:.0f} kB, {len(saved.vector):,} parameters")
    return {"torch": medians(eager, repeats), "onnxruntime": medians(packaged, repeats)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=2000)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print(f"load {os.getloadavg()[0]:.0f}")
    for name, task_id in MODELS.items():
        print(name)
        with tempfile.TemporaryDirectory() as folder:
            found = measure(task_id, Path(folder), asked.repeats)
        for runtime, (cpu, wall) in found.items():
            print(f"  {runtime:12} {cpu:.3f} ms of CPU, {wall:.3f} ms")
        print(f"  torch takes {found['torch'][0] / found['onnxruntime'][0]:.1f} times the CPU")


if __name__ == "__main__":
    main()
