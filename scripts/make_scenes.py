"""Scenes with boxes for cameras to try detection with: DIR/camera-1/images/0001.jpg and DIR/camera-1/instances.json.

    python scripts/make_scenes.py DIR --cameras 4 --scenes 150

Real pictures of clothes (Fashion-MNIST, MIT) in colours of their own, pasted at known places onto textured
backgrounds, which each camera has in a style of its own; written as COCO. DIR/validation holds further scenes of
the same cameras, DIR/test scenes of the same and of two unseen cameras, composed from the official test images.
No picture of clothes is used by two folders. The same command makes the same scenes. With --classes other
clothes, as for a public body: --classes t-shirt,dress,coat,sandal,boot --seed 11.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests/benches")]

try:
    from PIL import Image
    from scenes_bench import CLASSES, NAMES, SEED, SIDE, Scene, dealt

    from edgeveil.shared.base.errors import ConfigError, EdgeveilError
except ModuleNotFoundError as error:
    sys.exit(f'{error.name} is missing; run: pip install -e ".[dev]"')

MOST = 10_000  # scenes of one folder
QUALITY = 92  # of JPEG


def write_coco(folder: Path, classes: Sequence[str], made: Sequence[Scene]) -> None:
    """folder/images/0001.jpg … and folder/instances.json; scenes without items are in it too."""
    (folder / "images").mkdir(parents=True)
    images, annotations = [], []
    for number, scene in enumerate(made, 1):
        high, wide = scene.pixels.shape[:2]
        name = f"{number:04}.jpg"
        Image.fromarray(scene.pixels).save(folder / "images" / name, quality=QUALITY)
        images.append({"id": number, "file_name": name, "width": wide, "height": high})
        for index, left, top, right, bottom in scene.boxes.tolist():
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": int(index) + 1,
                    "bbox": [left, top, right - left, bottom - top],
                    "area": (right - left) * (bottom - top),
                    "iscrowd": 0,
                }
            )
    categories = [{"id": at, "name": name} for at, name in enumerate(classes, 1)]
    text = json.dumps({"images": images, "annotations": annotations, "categories": categories})
    (folder / "instances.json").write_text(text + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("dir", type=Path)
    parser.add_argument("--cameras", type=int, default=4)
    parser.add_argument("--scenes", type=int, default=150, help="of each camera")
    parser.add_argument("--test", type=int, default=120, help="in all; as many for validation")
    parser.add_argument("--classes", default=",".join(CLASSES), help=f"of {', '.join(NAMES)}")
    parser.add_argument("--side", type=int, default=SIDE, help="pixels")
    parser.add_argument("--seed", type=int, default=SEED)
    wanted = parser.parse_args()
    classes = tuple(wanted.classes.split(","))
    if not set(classes) <= set(NAMES) or len(set(classes)) != len(classes):
        raise ConfigError(f"--classes: each once, of {', '.join(NAMES)}")
    if not 1 <= wanted.cameras <= 20 or not 1 <= wanted.scenes <= MOST:
        raise ConfigError(f"--cameras may be 1 to 20, --scenes 1 to {MOST}")
    if not 1 <= wanted.test <= MOST or not 64 <= wanted.side <= 1024:
        raise ConfigError(f"--test may be 1 to {MOST}, --side 64 to 1024")
    if wanted.dir.exists():
        raise ConfigError(f"{wanted.dir} is there already; name a new folder")
    made = dealt(
        classes,
        cameras=wanted.cameras,
        count=wanted.scenes,
        held=wanted.test,
        seed=wanted.seed,
        side=wanted.side,
    )
    for name, found in made.items():
        write_coco(wanted.dir / name, classes, found)
    counts = ", ".join(f"{name} {len(found)}" for name, found in made.items())
    print(f"scenes of {', '.join(classes)} in {wanted.dir}: {counts}")


if __name__ == "__main__":
    try:
        main()
    except EdgeveilError as error:
        sys.exit(str(error))
