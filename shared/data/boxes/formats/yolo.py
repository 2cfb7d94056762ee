"""YOLO: images/ and labels/, a text file for each picture that shows something, and the names of the classes.

A line is `class centre-x centre-y width height`, in shares of the picture as it is shown. Names stand in classes.txt,
one a line, or under `names` of data.yaml. A picture without a text file shows nothing.
"""

import re
from pathlib import Path

from edgeveil.shared.base.errors import DataError
from edgeveil.shared.data.boxes.formats.annotated import Annotated, Annotations, RawBox, each_once
from edgeveil.shared.data.boxes.formats.files import files_in, number, pictures_in
from edgeveil.shared.data.boxes.formats.voc import by_stem
from edgeveil.shared.data.left_out import LeftOut, Reason
from edgeveil.shared.data.pictures import read_bytes
from edgeveil.shared.data.tree import nfc

PICTURES, TEXTS = "images", "labels"
LISTS = ("classes.txt", f"{TEXTS}/classes.txt")
SETTINGS = ("data.yaml", "data.yml", "dataset.yaml")
MOST_BYTES = 4 << 20  # of one text file
MOST_NAMES = 10_000
NUMBERED = re.compile(r"\s+(\d{1,5})\s*:\s*(.+)", re.ASCII)
DASHED = re.compile(r"\s*-\s+(.+)")


def holds(root: Path) -> bool:
    return (root / PICTURES).is_dir() and (root / TEXTS).is_dir()


def read(root: Path) -> Annotations:
    """Every picture, with the boxes of its text file if there is one; raises DataError without names."""
    names = class_names(root)
    left: list[LeftOut] = []
    texts = files_in(root / TEXTS, ".txt", left)
    if (root / LISTS[1]).is_file():
        texts.pop("classes", None)
    closed = [Path(each.name) for each in left if each.reason is Reason.UNREADABLE]
    pictures: list[Annotated] = []
    for stem, paths in by_stem(pictures_in(root / PICTURES, left)).items():
        text = texts.pop(stem, None)
        if len(paths) > 1:
            why = "two pictures have this name with different endings: whose boxes are they?"
            left += (LeftOut(Reason.ANNOTATION, str(path), why) for path in paths)
            continue
        if text is None and any((root / TEXTS / stem).is_relative_to(each) for each in closed):
            why = f"its folder in {TEXTS} could not be read: whether it shows anything is not known"
            left.append(LeftOut(Reason.UNLABELLED, str(paths[0]), why))
            continue
        boxes = () if text is None else _boxes(text, names)
        if isinstance(boxes, LeftOut):
            left.append(boxes)
        else:
            pictures.append(Annotated(paths[0], boxes, relative=True))
    why = f"no picture of this name in {PICTURES}"
    left += (LeftOut(Reason.ABSENT, str(path), why) for path in texts.values())
    known = each_once(name for name in names if name)
    return Annotations("yolo", tuple(pictures), known, tuple(left))


def class_names(root: Path) -> tuple[str, ...]:
    """In the order of their numbers, "" for a number without one; raises DataError where there are none."""
    for name in LISTS:
        if (root / name).is_file():
            lines = _text(root / name).split("\n")
            return tuple(nfc(line.strip()) or "" for line in lines[:MOST_NAMES])
    for name in SETTINGS:
        if (root / name).is_file():
            return _of_settings(root / name)
    raise DataError(
        f"{root}: the names of the classes are missing: write {LISTS[0]} there, one name a line, in the order "
        "of their numbers"
    )


def _boxes(file: Path, names: tuple[str, ...]) -> tuple[RawBox, ...] | LeftOut:
    data = read_bytes(file, MOST_BYTES)
    if isinstance(data, LeftOut):
        return data
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        return LeftOut(Reason.ANNOTATION, str(file), "not text in UTF-8")
    return tuple(_box(line.split(), names) for line in lines if line.strip())


def _box(fields: list[str], names: tuple[str, ...]) -> RawBox:
    index = number(fields[0])
    known = index.is_integer() and 0 <= index < len(names)
    values = [number(each) for each in fields[1:]] if len(fields) == 5 else [float("nan")] * 4
    x, y, wide, high = values
    corners = (x - wide / 2, y - high / 2, x + wide / 2, y + high / 2)
    return RawBox((names[int(index)] or None) if known else None, corners)


def _of_settings(file: Path) -> tuple[str, ...]:
    """`names` of a YAML file: [a, b] in one line, or an indented list or numbered list below; nothing else of YAML."""
    lines = _text(file).splitlines()
    start = next((at for at, line in enumerate(lines) if line.startswith("names:")), None)
    found: dict[int, str] = {}
    if start is not None:
        inline = _uncommented(lines[start].removeprefix("names:"))
        if inline.startswith("[") and inline.endswith("]"):
            found = dict(enumerate(_plain(each) for each in inline[1:-1].split(",")))
        elif not inline:
            for line in lines[start + 1 :]:
                if numbered := NUMBERED.fullmatch(line):
                    found[int(numbered[1])] = _plain(numbered[2])
                elif dashed := DASHED.fullmatch(line):
                    found[len(found)] = _plain(dashed[1])
                elif _uncommented(line):
                    break
    if not found or max(found) >= MOST_NAMES:
        raise DataError(
            f"{file}: `names` is not a plain list of names; write {LISTS[0]} beside it, one name a line"
        )
    return tuple(found.get(at, "") for at in range(max(found) + 1))


def _plain(text: str) -> str:
    text = _uncommented(text)
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        text = text[1:-1]
    return nfc(text) or ""


def _uncommented(text: str) -> str:
    return re.sub(r"(^|\s)#.*", "", text).strip()


def _text(file: Path) -> str:
    data = read_bytes(file, MOST_BYTES)
    if isinstance(data, LeftOut):
        raise DataError(data.sentence)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: not text in UTF-8; save it so") from error
