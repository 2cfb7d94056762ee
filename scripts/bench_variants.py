"""What smaller variants cost in quality: a picture model and a detector, trained here without noise, then made smaller.

    python scripts/bench_variants.py pictures [--steps 1500] [--seed 0] [--hidden 64]
    python scripts/bench_variants.py boxes [--steps 600]

Pictures: Fashion-MNIST (Debian: dataset-fashion-mnist). The share of channels to prune is the largest one that costs at most
a point on 4,500 pictures held out of training; what it gives on the test pictures is told. What is left is fitted to 500
others without their labels. `--hidden 64` puts a layer before the labels: 105,962 parameters, the network of bench_training.py.
Boxes: composed scenes of scripts/bench_detection.py. Sizes are of the graph with its weights.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests/benches"), str(ROOT / "tests"), str(ROOT / "scripts")]

from models_bench import VECTORS, resigned  # noqa: E402 - found by the line above

from edgeveil.agent.compression import quantizing  # noqa: E402
from edgeveil.agent.compression.graphs import run  # noqa: E402
from edgeveil.agent.compression.sparsity import sparse  # noqa: E402
from edgeveil.coordinator.models import graph as exporting  # noqa: E402
from edgeveil.coordinator.runs import checkpoint  # noqa: E402
from edgeveil.shared.models.package import Package, parse_package, read_package  # noqa: E402
from edgeveil.shared.tasks import registry  # noqa: E402
from edgeveil.shared.tasks.image_classification import ImageClassification  # noqa: E402
from edgeveil.shared.tasks.modules import all_tensors, read_vector  # noqa: E402
from edgeveil.shared.tasks.spec import tallied  # noqa: E402

BATCH, HELD_OUT, FITTED, MOST_LOST = 64, 5000, 500, 0.01
SHARES = (0.25, 0.3, 0.4, 0.5)  # of channels; the CNN has 16 and 32 in groups of four
ZEROS = 0.3


def packed(task_id: str, raw: dict[str, Any], module: nn.Module) -> Package:
    """A package of this model, signed by a key that everybody knows."""
    spec = registry.newest(task_id)
    task = registry.load(spec)
    options = task.parse_options(raw)
    tensors = all_tensors(task, options)
    vector = read_vector(module, tensors)
    model, form = exporting.graph_of(task, options, vector)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint.save(Path(folder) / "w", vector, tensors, {"run": "bench"})
        weights = (Path(folder) / "w").read_bytes()
    told = {"id": spec.id, "version": spec.version, "hash": spec.task_hash().hex(), "options": options.model_dump()}  # fmt: skip
    taken = exporting.input_of(form).model_dump()
    given: dict[str, Any] = {"kind": "logits", "name": "logits", "labels": form.labels}
    if form.rows:
        given = {"kind": "boxes", "name": "rows", "labels": form.labels, "rows": form.rows}
    changes = {"task": told, "input": taken, "output": given, "self_test": None}
    return parse_package(resigned(read_package(VECTORS / "cnn.evm"), model=model, weights=weights, **changes))  # fmt: skip


def with_layer(module: Any, hidden: int) -> nn.Module:
    """The CNN of the task, with `hidden` units before its labels."""
    head = module[-1]
    torch.manual_seed(hidden)
    return nn.Sequential(
        *module[:-1],
        nn.Linear(head.in_features, hidden),
        nn.ReLU(),
        nn.Linear(hidden, head.out_features),
    )


def learned_pictures(steps: int, seed: int) -> tuple[nn.Module, Any, Any]:
    """The CNN, and pixels and labels that it has not seen."""
    from public_data_bench import fashion_mnist  # noqa: PLC0415 - not installed everywhere

    whole = fashion_mnist("train")
    order = np.random.default_rng(seed).permutation(len(whole))
    known, held = whole.take(order[HELD_OUT:]), whole.take(order[:HELD_OUT])
    task = registry.load(registry.newest("image-classification"))
    options = task.parse_options({})
    module = task.build(options).train()
    optimizer = torch.optim.AdamW(module.parameters(), lr=2e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    rows = np.random.default_rng(seed + 1)
    for _ in range(steps):
        chosen = rows.integers(0, len(known), BATCH)
        inputs = torch.from_numpy(task.inputs(known.pixels[chosen].astype(np.float32) / 255, options))  # fmt: skip
        loss = nn.functional.cross_entropy(module(inputs), torch.from_numpy(known.labels[chosen]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return module.eval(), held, fashion_mnist("test")


def right(model: bytes, images: Any) -> float:
    raw = images.pixels.astype(np.float32) / 255
    found = [run(model, raw[at : at + 500]).argmax(axis=1) for at in range(0, len(raw), 500)]
    return float((np.concatenate(found) == images.labels).mean())


def pictures(chosen: argparse.Namespace) -> None:
    from edgeveil.agent.optimizing.pruning import pruned  # noqa: PLC0415 - [prune]

    if chosen.hidden:  # everything below is then of that network
        usual_build = ImageClassification.build
        ImageClassification.build = lambda task, options: with_layer(
            usual_build(task, options), chosen.hidden
        )  # type: ignore[method-assign]
    module, held, test = learned_pictures(chosen.steps or 1500, chosen.seed)
    package = packed("image-classification", {}, module)
    whole = package.model
    own, held = held.pixels[:FITTED].astype(np.float32) / 255, held.take(np.arange(FITTED, HELD_OUT))  # fmt: skip
    told({"parameters": sum(each.numel() for each in module.parameters())})
    variants = {"fp32": whole, "int8 dynamic": quantizing.dynamic(whole)}
    variants["int8 static"] = quantizing.static(whole, own[:128])
    zeroed, zeros = sparse(whole, ZEROS)
    variants[f"{zeros:.0%} sparse"] = zeroed
    variants[f"{zeros:.0%} sparse, int8 dynamic"] = quantizing.dynamic(zeroed)
    usual, best = right(whole, held), None
    for share in SHARES:
        graph, achieved = pruned(package, share, own)
        lost = usual - right(graph, held)
        told({"channels_asked": share, "achieved": round(achieved, 3), "lost_on_held_out": round(lost, 4)})  # fmt: skip
        if lost <= MOST_LOST:
            best = (graph, achieved)
    if best is not None:
        variants[f"{best[1]:.0%} pruned"] = best[0]
        variants[f"{best[1]:.0%} pruned, int8 dynamic"] = quantizing.dynamic(best[0])
    for name, model in variants.items():
        told({"variant": name, "bytes": len(model), "of_fp32": round(len(model) / len(whole), 3), "test_right": right(model, test)})  # fmt: skip


def boxes(chosen: argparse.Namespace) -> None:
    import bench_detection as scenes  # noqa: PLC0415 - composes them

    options = scenes.options_of()
    own, _, test = scenes.cameras(options)
    names = ("images", "boxes")
    whole = scenes.Squares(*(np.concatenate([getattr(each, name) for each in own]) for name in names), own[0].grid)  # fmt: skip
    module = scenes.learned(options, whole, chosen.steps or 600, chosen.seed)
    raw = {key: value for key, value in options.model_dump().items() if value != ""}
    package = packed("detection", raw, module.eval())
    squares = np.moveaxis(np.asarray(test.images), 1, 3).astype(np.float32) / 255
    sample = np.moveaxis(np.asarray(whole.images[:: max(1, len(whole) // 128)]), 1, 3).astype(np.float32) / 255  # fmt: skip
    variants = {
        "fp32": package.model,
        "int8 dynamic": quantizing.dynamic(package.model),
        "int8 static": quantizing.static(package.model, sample),
    }
    targets = [test.take(np.arange(at, min(at + 60, len(test))))[1] for at in range(0, len(test), 60)]  # fmt: skip
    for name, model in variants.items():
        tally = np.zeros((), np.int64)
        for at, target in enumerate(targets):
            rows = run(model, squares[60 * at : 60 * at + 60])
            tally = tally + tallied(scenes.TASK, torch.from_numpy(rows), target, options)
        found = scenes.TASK.metrics(tally, options)
        told({"variant": name, "bytes": len(model), "of_fp32": round(len(model) / len(package.model), 3), **{key: round(value, 4) for key, value in found.items()}})  # fmt: skip


def told(row: dict[str, Any]) -> None:
    print(json.dumps(row), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("part", choices=("pictures", "boxes"))
    parser.add_argument("--steps", type=int)
    parser.add_argument("--hidden", type=int, default=0, help="Units of a layer before the labels.")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    torch.manual_seed(chosen.seed)
    torch.set_num_threads(1)
    began = time.process_time()
    {"pictures": pictures, "boxes": boxes}[chosen.part](chosen)
    told({"load": round(os.getloadavg()[0]), "cpu_seconds": round(time.process_time() - began)})


if __name__ == "__main__":
    main()
