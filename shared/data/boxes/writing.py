"""A folder of pictures with boxes written in another of the three formats. Pictures are copied as they are."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, tostring

from edgeveil.shared.base.errors import ConfigError, DataError
from edgeveil.shared.data.boxes.fitting import row_of, where
from edgeveil.shared.data.boxes.formats import coco, voc, yolo
from edgeveil.shared.data.boxes.formats.annotated import Annotated, Fault, Note, Notes
from edgeveil.shared.data.boxes.formats.files import without_suffix
from edgeveil.shared.data.boxes.formats.layout import annotations
from edgeveil.shared.data.boxes.reading import unlike
from edgeveil.shared.data.left_out import LeftOut, by_reason
from edgeveil.shared.data.pictures import read_bytes, read_upright

DIGITS = 3  # of a pixel
SHARE_DIGITS = 7  # of a picture's side


@dataclass(frozen=True, slots=True)
class Box:
    """`corners` in pixels of the picture as it is shown, half-open."""

    kind: int
    corners: tuple[float, float, float, float]
    crowd: bool
    difficult: bool


@dataclass(frozen=True, slots=True)
class Picture:
    name: str
    size: tuple[int, int]  # width, height as shown
    boxes: tuple[Box, ...]


@dataclass(frozen=True, slots=True)
class Converted:
    pictures: int
    boxes: int
    left: tuple[LeftOut, ...]
    notes: tuple[Note, ...]


def convert(source: Path, target: Path, *, from_form: str | None, to_form: str) -> Converted:
    """Write `target`, which must not be there yet.

    Raises:
        ConfigError: the target is there, or cannot be written.
        DataError: the source cannot be read, has no picture that can be used, or two of one name.
    """
    if target.exists():
        raise ConfigError(f"{target}: this is there already; name a new folder")
    found = annotations(source, from_form)
    notes, left = found.notes(), list(found.left)
    classes = {name: index for index, name in enumerate(found.categories)}
    folder, write = WRITERS[to_form]
    pictures: list[Picture] = []
    try:
        for each in found.pictures:
            told = _picture(each, source, classes, notes)
            if isinstance(told, LeftOut):
                left.append(told)
            else:
                _copy(each.picture, target / folder / told.name)
                pictures.append(told)
        if not pictures:
            raise DataError(f"{source}: no picture can be used (agent data check: why)")
        write(target, found.categories, pictures)
    except OSError as error:
        raise ConfigError(f"{target}: cannot be written ({error.strerror})") from error
    if to_form == "yolo":
        _unsaid(pictures, notes)
    boxes = sum(len(each.boxes) for each in pictures)
    return Converted(len(pictures), boxes, by_reason(left), notes.all())


def _picture(
    each: Annotated, source: Path, classes: dict[str, int], notes: Notes
) -> Picture | LeftOut:
    shown = read_upright(each.picture)
    if isinstance(shown, LeftOut):
        return shown
    if (left := unlike(each, shown)) is not None:
        return left
    high, wide = shown.pixels.shape[:2]
    boxes: list[Box] = []
    for box in each.boxes:
        row = row_of(box, each.relative, (wide, high), classes)
        if isinstance(row, Fault):
            notes.add(row, where(each, box, row))
        else:
            boxes.append(Box(int(row[0]), row[1:], box.crowd, box.difficult))
    return Picture(_flat(each.picture, source), (wide, high), tuple(boxes))


def _flat(picture: Path, source: Path) -> str:
    """Its name below the folder of pictures, with __ for /."""
    parts = picture.relative_to(source).parts
    inner = parts[1:] if parts[0] in {coco.PICTURES, voc.PICTURES} and len(parts) > 1 else parts
    return "__".join(inner)


def _copy(picture: Path, target: Path) -> None:
    data = read_bytes(picture)
    if isinstance(data, LeftOut):
        raise DataError(data.sentence)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with target.open("xb") as file:
            file.write(data)
    except FileExistsError as error:
        raise DataError(
            f"{picture}: two pictures would be called {target.name}; rename one"
        ) from error


def _write_coco(root: Path, categories: Sequence[str], pictures: Sequence[Picture]) -> None:
    images: list[dict[str, object]] = []
    entries: list[dict[str, object]] = []
    for number, each in enumerate(pictures, 1):
        wide, high = each.size
        images.append({"id": number, "file_name": each.name, "width": wide, "height": high})
        for box in each.boxes:
            x1, y1, x2, y2 = box.corners
            sides = [round(value, DIGITS) for value in (x1, y1, x2 - x1, y2 - y1)]
            entries.append(
                {
                    "id": len(entries) + 1,
                    "image_id": number,
                    "category_id": box.kind + 1,
                    "bbox": sides,
                    "area": round(sides[2] * sides[3], DIGITS),
                    "iscrowd": int(box.crowd),
                }
            )
    named = [{"id": number, "name": name} for number, name in enumerate(categories, 1)]
    told = {"images": images, "annotations": entries, "categories": named}
    (root / "instances.json").write_text(json.dumps(told) + "\n")


def _write_voc(root: Path, categories: Sequence[str], pictures: Sequence[Picture]) -> None:
    (root / voc.TEXTS).mkdir()
    for each in pictures:
        top = Element("annotation")
        SubElement(top, "filename").text = each.name
        size = SubElement(top, "size")
        for name, side in zip(("width", "height", "depth"), (*each.size, 3), strict=True):
            SubElement(size, name).text = str(side)
        for box in each.boxes:
            entry = SubElement(top, "object")
            SubElement(entry, "name").text = categories[box.kind]
            SubElement(entry, "difficult").text = str(int(box.difficult or box.crowd))
            frame = SubElement(entry, "bndbox")
            x1, y1, x2, y2 = box.corners
            for name, value in zip(voc.CORNERS, (x1 + 1, y1 + 1, x2, y2), strict=True):
                SubElement(frame, name).text = f"{round(value, DIGITS):.10g}"
        _beside(root / voc.TEXTS, each, ".xml").write_bytes(tostring(top, encoding="utf-8"))


def _write_yolo(root: Path, categories: Sequence[str], pictures: Sequence[Picture]) -> None:
    (root / yolo.TEXTS).mkdir()
    (root / yolo.LISTS[0]).write_text(
        "".join(f"{' '.join(name.split()) or '_'}\n" for name in categories)  # a name is one line
    )
    for each in pictures:
        lines = [_line(box, each.size) for box in each.boxes if not box.crowd and not box.difficult]
        if lines:
            _beside(root / yolo.TEXTS, each, ".txt").write_text("".join(lines))


def _line(box: Box, size: tuple[int, int]) -> str:
    (x1, y1, x2, y2), (wide, high) = box.corners, size
    shares = ((x1 + x2) / 2 / wide, (y1 + y2) / 2 / high, (x2 - x1) / wide, (y2 - y1) / high)
    return " ".join([str(box.kind), *(f"{each:.{SHARE_DIGITS}f}" for each in shares)]) + "\n"


def _unsaid(pictures: Sequence[Picture], notes: Notes) -> None:
    """What YOLO has no word for, and was not written."""
    for each in pictures:
        for box in each.boxes:
            if box.crowd or box.difficult:
                notes.add(Fault.CROWD if box.crowd else Fault.DIFFICULT, each.name)


def _beside(folder: Path, picture: Picture, suffix: str) -> Path:
    path = folder / f"{without_suffix(picture.name)}{suffix}"
    if path.exists():
        raise DataError(f"{picture.name}: two pictures would share {path.name}; rename one")
    return path


Writer = Callable[[Path, Sequence[str], Sequence[Picture]], None]
WRITERS: dict[str, tuple[str, Writer]] = {
    "coco": (coco.PICTURES, _write_coco),
    "voc": (voc.PICTURES, _write_voc),
    "yolo": (yolo.PICTURES, _write_yolo),
}
