"""Model packages that every later release has to read, with what torch says of the same pictures.

Run by path, once per version of the manifest: scripts/make_model_vectors.py writes tests/vectors/models.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests/benches"), str(ROOT / "tests")]

from models_bench import pictures, trained  # noqa: E402 - found by the line above

from edgeveil.coordinator.models.export import export  # noqa: E402
from edgeveil.coordinator.runs import checkpoint  # noqa: E402
from edgeveil.shared.tasks import registry  # noqa: E402
from edgeveil.shared.tasks.modules import write_vector  # noqa: E402

TARGET = ROOT / "tests/vectors/models"
MODELS = {
    "cnn": ("image-classification", {"classes": 3, "height": 8, "width": 8, "labels": "apple,pear,plum"}),
    "head": ("feature-head", {"classes": 4, "height": 8, "width": 12, "channels": 3}),
}  # fmt: skip


def main() -> None:
    argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0]).parse_args()
    TARGET.mkdir(parents=True, exist_ok=True)
    told = {}
    for name, (task_id, options) in MODELS.items():
        with tempfile.TemporaryDirectory() as folder:
            home, run = trained(Path(folder), task_id, public=True, **options)
            export(home, run, "2", TARGET / f"{name}.evm", licence="Apache-2.0")
            path = home / "runs" / run / "round-0002.safetensors"
            told[name] = _logits(task_id, options, checkpoint.load(path))
    text = json.dumps(told, indent=1, sort_keys=True)
    (TARGET / "expected.json").write_text(text + "\n")


def _logits(task_id: str, options: dict[str, object], saved: checkpoint.Checkpoint) -> list[object]:
    """By the task itself, without a graph."""
    spec = registry.newest(task_id)
    task = registry.load(spec)
    parsed = task.parse_options(options)
    module = task.build(parsed).eval()
    write_vector(module, saved.vector, saved.tensors)
    raw = pictures(4, parsed.height, parsed.width, parsed.channels).astype(np.float32) / 255
    with torch.inference_mode():
        return module(torch.from_numpy(task.inputs(raw, parsed))).tolist()


if __name__ == "__main__":
    main()
