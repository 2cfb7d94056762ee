"""COCO: images/ and one JSON file of instances, at the root or in annotations/ (cocodataset.org, "Data format").

Boxes are x, y, width, height in pixels of the picture as it is shown. Categories have names, and their numbers
mean nothing outside the file. Nothing in it is believed before it is looked at: names stay below images/.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from edgeveil.shared.base.errors import DataError
from edgeveil.shared.data.boxes.formats.annotated import Annotated, Annotations, RawBox, each_once
from edgeveil.shared.data.boxes.formats.files import pictures_in
from edgeveil.shared.data.left_out import LeftOut, Reason
from edgeveil.shared.data.pictures import read_bytes
from edgeveil.shared.data.tree import SUFFIXES, nfc

PICTURES, INNER = "images", "annotations"
MOST_BYTES = 128 << 20  # of JSON, before it is parsed: a million boxes without outlines
PARTS = ("images", "annotations", "categories")
NOTHING = (float("nan"),) * 4
Key = int | str


def holds(root: Path) -> bool:
    """By names alone: a JSON file, and pictures in images/ or, without any class folder, beside it."""
    if not json_files(root):
        return False
    if (root / PICTURES).is_dir():
        return True
    entries = [each for each in root.iterdir() if each.name[0] != "."]
    folders = [each.name for each in entries if each.is_dir()]
    return set(folders) <= {INNER} and any(each.name.lower().endswith(SUFFIXES) for each in entries)


def json_files(root: Path) -> list[Path]:
    found = (each for folder in (root, root / INNER) for each in folder.glob("*.json"))
    return sorted(each for each in found if each.name[0] != "." and each.is_file())


def the_file(root: Path) -> Path:
    """The one JSON file that holds boxes; raises DataError where that is not clear."""
    found = json_files(root)
    named = [each for each in found if each.name.startswith("instances")] or found
    if len(named) == 1:
        return named[0]
    names = ", ".join(str(each.relative_to(root)) for each in named[:5])
    raise DataError(f"{root}: {len(named)} files may hold the boxes ({names}); keep one of them")


def read(root: Path) -> Annotations:
    """Every listed picture that is there, with its boxes; raises DataError if the JSON file is not COCO."""
    file = the_file(root)
    told = parsed(file)
    folder = root / PICTURES if (root / PICTURES).is_dir() else root
    left: list[LeftOut] = []
    here = pictures_in(folder, left)
    if folder == root:  # the JSON file itself, and its folder, are no strays
        left = [each for each in left if not each.name.endswith(".json")]
    listed = _listed(told["images"], file, left)
    names = _categories(told["categories"])
    boxes: dict[Key, list[RawBox]] = {key: [] for key in listed}
    orphans = _boxes(told["annotations"], names, boxes)
    pictures: list[Annotated] = []
    for key, (name, size) in sorted(listed.items(), key=lambda entry: entry[1][0]):
        path = here.pop(name, None)
        if path is None:
            why = f"listed in {file.name}, and not in {folder.name}"
            left.append(LeftOut(Reason.ABSENT, str(folder / name), why))
        else:
            pictures.append(Annotated(path, tuple(boxes[key]), size))
    why = f"not listed in {file.name}: whether it shows anything is not known"
    left += (LeftOut(Reason.UNLABELLED, str(path), why) for path in here.values())
    known = each_once(name for name in names.values() if name is not None)
    return Annotations("coco", tuple(pictures), known, tuple(left), tuple(orphans))


def parsed(file: Path) -> dict[str, list[Any]]:
    """The three lists of a COCO file; raises DataError."""
    data = read_bytes(file, MOST_BYTES)
    if isinstance(data, LeftOut):
        raise DataError(f"{data.sentence}; split the data set, or leave the outlines out of it")
    try:
        found = json.loads(data)
    except (
        ValueError,
        RecursionError,
    ) as error:  # also for what is not UTF-8, and for deep nesting
        why = "nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]
        raise DataError(f"{file}: this is not JSON ({why}); export it again") from error
    if not isinstance(found, dict) or not all(isinstance(found.get(p), list) for p in PARTS):
        raise DataError(
            f"{file}: this is not COCO: it needs the lists {', '.join(PARTS)}; if it is about something "
            "else, move it away"
        )
    return {part: found[part] for part in PARTS}


def _listed(
    entries: list[Any], file: Path, left: list[LeftOut]
) -> dict[Key, tuple[str, tuple[int, int] | None]]:
    """File name and declared size by id; what is not clear is added to `left`."""
    ids = Counter(key for key in map(_id, entries) if key is not None)
    files = Counter(name for name in map(_name, entries) if name is not None)
    found: dict[Key, tuple[str, tuple[int, int] | None]] = {}
    for at, entry in enumerate(entries):
        key, name = _id(entry), _name(entry)
        if key is None or name is None:
            why = (
                f"entry {at} of images has no usable id and file_name below the folder of pictures"
            )
        elif ids[key] > 1:
            why = f"id {key!r} stands for {ids[key]} pictures, {name} among them: whose boxes are they?"
        elif files[name] > 1:
            why = f"{name} is listed {files[name]} times"
        else:
            found[key] = (name, _size(entry))
            continue
        left.append(LeftOut(Reason.ANNOTATION, str(file), why))
    return found


def _boxes(
    entries: list[Any], names: dict[Key, str | None], boxes: dict[Key, list[RawBox]]
) -> list[str]:
    """Adds each box to its picture; what belongs to none is returned as names."""
    orphans: list[str] = []
    for at, entry in enumerate(entries):
        told = entry if isinstance(entry, dict) else {}
        image, category = _key(told.get("image_id")), _key(told.get("category_id"))
        mine = None if image is None else boxes.get(image)
        if mine is None:
            orphans.append(f"annotation {at}")
            continue
        corners = NOTHING
        box = told.get("bbox")
        if isinstance(box, list) and len(box) == 4 and all(map(_is_number, box)):
            x, y, wide, high = (_float(each) for each in box)
            corners = (x, y, x + wide, y + high)
        label = None if category is None else names.get(category)
        mine.append(RawBox(label, corners, crowd=told.get("iscrowd") == 1))
    return orphans


def _categories(entries: list[Any]) -> dict[Key, str | None]:
    """Names by id in the order of the file; None where one id has two names."""
    found: dict[Key, str | None] = {}
    for entry in entries:
        key, name = _id(entry), entry.get("name") if isinstance(entry, dict) else None
        if key is not None and isinstance(name, str) and name:
            name = nfc(name)
            found[key] = name if found.get(key, name) == name else None
    return found


def _id(entry: Any) -> Key | None:
    return _key(entry.get("id")) if isinstance(entry, dict) else None


def _key(value: Any) -> Key | None:
    return value if isinstance(value, int | str) and not isinstance(value, bool) else None


def _name(entry: Any) -> str | None:
    """A relative path without detours."""
    name = entry.get("file_name") if isinstance(entry, dict) else None
    if not isinstance(name, str):
        return None
    parts = name.replace("\\", "/").removeprefix("./").split("/")
    if any(part in {"", ".", ".."} or "\0" in part for part in parts):
        return None
    return nfc("/".join(parts))


def _size(entry: dict[str, Any]) -> tuple[int, int] | None:
    size = (entry.get("width"), entry.get("height"))
    wide, high = size
    if type(wide) is int and type(high) is int and wide > 0 and high > 0:
        return wide, high
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # a whole number beyond every float
        return float("inf")
