"""Trains a detector on public pictures with boxes and packs it as the body that private plans train classes on.

    python scripts/public_body.py body.safetensors --data DIR --labels car,bus --size 416 --origin "whose pictures"
    python scripts/public_body.py body.safetensors --steps 2000          # composed scenes of other clothes
    python scripts/public_body.py body.safetensors --variant two-stage   # for detection-two-stage

Without --data the pictures are composed (scripts/make_scenes.py) of t-shirts, dresses, coats, sandals and boots. What
you name must be public: nothing protects these records, and the body carries what it learned of them to every
device. A plan takes the file as `[model] initial` with `task.options.train = "classes"`; the classes of the body need not
be those of the plan. Where it comes from stands in the file: data with its SHA-256, labels, steps, seed.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "scripts")]

try:
    import bench_detection
    import two_stage
    from bench_detection import BODY_SEED, OTHER_CLASSES, judged, learned, squares
    from scenes_bench import dealt

    from edgeveil.coordinator.runs import checkpoint
    from edgeveil.shared.base.errors import ConfigError, EdgeveilError
    from edgeveil.shared.tasks.detection.targets import Squares
    from edgeveil.shared.tasks.detection.two_stage.task import Pictures
    from edgeveil.shared.tasks.modules import read_vector, trainable
except ModuleNotFoundError as error:
    sys.exit(f'{error.name} is missing; run: pip install -e ".[dev]"')

TWO_STAGE = "two-stage"
STEPS = {TWO_STAGE: 500}  # of its body, and three fifths as many after it; 2,000 of any other
COMPOSED = "composed scenes of Fashion-MNIST (MIT), scripts/make_scenes.py"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path, help="to be written, .safetensors")
    parser.add_argument(
        "--data", type=Path, help="COCO, Pascal VOC or YOLO folder of public pictures"
    )
    parser.add_argument("--labels", help="of --data, comma-separated")
    parser.add_argument("--variant", default="lite", help=f"of detection, or {TWO_STAGE}")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--origin", default=COMPOSED, help="whose pictures these are, and their licence"
    )
    chosen = parser.parse_args()
    try:
        pack(chosen)
    except EdgeveilError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return int(error.exit_code)
    return 0


def pack(chosen: argparse.Namespace) -> None:
    if chosen.file.exists():
        raise ConfigError(f"{chosen.file}: this file is there already; name another")
    if chosen.data is not None and (not chosen.labels or chosen.origin == COMPOSED):
        raise ConfigError("--data needs --labels and --origin: say whose pictures these are")
    labels = chosen.labels or ",".join(OTHER_CLASSES)
    chosen.steps = chosen.steps or STEPS.get(chosen.variant, 2000)
    staged = chosen.variant == TWO_STAGE
    task = two_stage.TASK if staged else bench_detection.TASK
    raw = {"labels": labels, "size": chosen.size}
    options = task.parse_options(raw if staged else raw | {"variant": chosen.variant})
    records = public_records(chosen, task, options)
    if len(records) < 16:
        raise ConfigError(f"{len(records)} pictures could be used, at least 16 are needed")
    make = two_stage.public if staged else learned
    module = make(options, records, chosen.steps, chosen.seed)
    tensors = trainable(module)
    metadata = {
        "task": f"{task.spec.id} {task.spec.version}",
        **provenance(chosen, labels, records),
    }
    digest = checkpoint.save(chosen.file, read_vector(module, tensors), tensors, metadata)
    told = {"file": str(chosen.file), "sha256": digest, **metadata}
    print(json.dumps(told | judged(module, options, task, seen=records), indent=2))


def public_records(chosen: argparse.Namespace, task: Any, options: Any) -> Squares | Pictures:
    """Of the folder named, or composed."""
    if chosen.data is not None:
        return task.load(chosen.data, options)
    made = dealt(OTHER_CLASSES, seed=BODY_SEED)
    scenes = [scene for name in made if name.startswith("camera") for scene in made[name]]
    if task is not two_stage.TASK:
        return squares(scenes, options)
    found = squares(scenes, bench_detection.options_of(boxes_max=options.boxes_max))
    return Pictures(found.images, found.boxes)


def provenance(
    chosen: argparse.Namespace, labels: str, records: Squares | Pictures
) -> dict[str, str]:
    """Text alone, as a file in safetensors keeps it."""
    pictures = hashlib.sha256(records.images.tobytes() + records.boxes.tobytes()).hexdigest()
    return {
        "origin": chosen.origin,
        "pictures": str(len(records)),
        "pictures_sha256": pictures,
        "labels": labels,
        "variant": chosen.variant,
        "size": str(chosen.size),
        "steps": str(chosen.steps),
        "seed": str(chosen.seed),
        "torch": torch.__version__,
    }


if __name__ == "__main__":
    sys.exit(main())
