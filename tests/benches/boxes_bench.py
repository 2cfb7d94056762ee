"""The same few pictures with boxes in the three formats that are read."""

import json
from pathlib import Path

import numpy as np
from catalogue_bench import write_png

CLASSES = ("car", "truck")
WIDE, HIGH = 40, 20
# By picture: (class, x1, y1, x2, y2), half-open; the second shows nothing.
TRUTH = {
    "a": [("car", 4, 2, 20, 12), ("truck", 10, 5, 40, 20)],
    "b": [],
    "c": [("truck", 0, 0, 8, 8)],
}


def picture(path, wide=WIDE, high=HIGH):
    values = np.full((high, wide, 3), 90, np.uint8)
    values[:, : wide // 2] = 200
    write_png(path, values)


def write_coco(root, truth=TRUTH, name="instances.json", **changed):
    """`changed` replaces whole lists of the JSON file, or adds to it."""
    images, annotations = [], []
    for at, (stem, boxes) in enumerate(truth.items()):  # ids from 0, as some tools write them
        picture(root / "images" / f"{stem}.png")
        images.append({"id": at, "file_name": f"{stem}.png", "width": WIDE, "height": HIGH})
        for label, x1, y1, x2, y2 in boxes:
            annotations.append(
                {
                    "id": len(annotations),
                    "image_id": at,
                    "category_id": CLASSES.index(label) * 7,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "iscrowd": 0,
                }
            )
    told = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": at * 7, "name": each} for at, each in enumerate(CLASSES)],
    }
    write_json(root / name, told | changed)
    return told


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def xml_of(boxes, wide=WIDE, high=HIGH, extra=""):
    objects = "".join(
        f"<object><name>{label}</name>{extra}<bndbox><xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin>"
        f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
        for label, x1, y1, x2, y2 in boxes
    )
    size = f"<size><width>{wide}</width><height>{high}</height><depth>3</depth></size>"
    return f"<annotation>{size}{objects}</annotation>"


def write_voc(root, truth=TRUTH):
    (root / "Annotations").mkdir(parents=True)
    for stem, boxes in truth.items():
        picture(root / "JPEGImages" / f"{stem}.png")
        (root / "Annotations" / f"{stem}.xml").write_text(xml_of(boxes))


def write_yolo(root, truth=TRUTH):
    (root / "labels").mkdir(parents=True)
    (root / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    for stem, boxes in truth.items():
        picture(root / "images" / f"{stem}.png")
        lines = [
            f"{CLASSES.index(label)} {(x1 + x2) / 2 / WIDE} {(y1 + y2) / 2 / HIGH} "
            f"{(x2 - x1) / WIDE} {(y2 - y1) / HIGH}"
            for label, x1, y1, x2, y2 in boxes
        ]
        if lines:
            (root / "labels" / f"{stem}.txt").write_text("\n".join(lines) + "\n")


WRITERS = {"coco": write_coco, "voc": write_voc, "yolo": write_yolo}


def files_of(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
