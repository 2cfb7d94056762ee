"""Pascal VOC: JPEGImages/ and Annotations/, an XML file for each picture (VOC development kit, "Annotation").

Corners are 1-based and inclusive: xmin 1 is the first pixel, and xmax the last one that belongs to the box. Files
are parsed without entities, document types and external references; one that has any is left out.
"""

import importlib
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError  # for their names alone

from edgeveil.shared.base.errors import NotInstalled
from edgeveil.shared.data.boxes.formats.annotated import Annotated, Annotations, RawBox, each_once
from edgeveil.shared.data.boxes.formats.files import files_in, number, pictures_in, without_suffix
from edgeveil.shared.data.left_out import LeftOut, Reason
from edgeveil.shared.data.pictures import read_bytes
from edgeveil.shared.data.tree import nfc

PICTURES, TEXTS = "JPEGImages", "Annotations"
MOST_BYTES = 4 << 20  # of one XML file
CORNERS = ("xmin", "ymin", "xmax", "ymax")


def holds(root: Path) -> bool:
    return (root / PICTURES).is_dir() and (root / TEXTS).is_dir()


def read(root: Path) -> Annotations:
    """Every picture with an XML file of its name; raises NotInstalled without defusedxml."""
    parse = parser()
    left: list[LeftOut] = []
    here = pictures_in(root / PICTURES, left)
    texts = files_in(root / TEXTS, ".xml", left)
    pictures: list[Annotated] = []
    names: set[str] = set()
    for stem, paths in by_stem(here).items():
        text = texts.pop(stem, None)
        if len(paths) > 1:
            left += (_ambiguous(path) for path in paths)
        elif text is None:
            why = f"{stem}.xml is not in {TEXTS}: whether it shows anything is not known"
            left.append(LeftOut(Reason.UNLABELLED, str(paths[0]), why))
        else:
            found = annotation(text, paths[0], parse)
            if isinstance(found, LeftOut):
                left.append(found)
            else:
                pictures.append(found)
                names |= {box.label for box in found.boxes if box.label is not None}
    why = f"no picture of this name in {PICTURES}"
    left += (LeftOut(Reason.ABSENT, str(path), why) for path in texts.values())
    return Annotations("voc", tuple(pictures), each_once(sorted(names)), tuple(left))


def by_stem(pictures: dict[str, Path]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for name, path in pictures.items():
        found.setdefault(without_suffix(name), []).append(path)
    return found


def parser() -> Any:
    try:
        return importlib.import_module("defusedxml.ElementTree").fromstring
    except ModuleNotFoundError as error:
        raise NotInstalled(
            "Pascal VOC is read with defusedxml", 'pip install "edgeveil[train]"'
        ) from error


def annotation(file: Path, picture: Path, parse: Any) -> Annotated | LeftOut:
    """One XML file with `parse` of parser()."""
    data = read_bytes(file, MOST_BYTES)
    if isinstance(data, LeftOut):
        return data
    try:
        root: Element = parse(data, forbid_dtd=True)
    except (ParseError, ValueError, LookupError, RecursionError) as error:
        # defusedxml's own are ValueErrors, an unknown encoding is a LookupError
        text = str(error)[:200] or type(error).__name__
        return LeftOut(Reason.ANNOTATION, str(file), f"not usable as XML ({text})")
    size = tuple(_whole(root.findtext(f"size/{name}")) for name in ("width", "height"))
    boxes = tuple(_box(each) for each in root.iterfind("object"))
    wide, high = size
    return Annotated(picture, boxes, (wide, high) if wide > 0 and high > 0 else None)


def _box(entry: Element) -> RawBox:
    name = (entry.findtext("name") or "").strip()
    left, top, right, bottom = (number(entry.findtext(f"bndbox/{name}")) for name in CORNERS)
    return RawBox(
        label=nfc(name) or None,
        corners=(left - 1, top - 1, right, bottom),
        difficult=(entry.findtext("difficult") or "").strip() == "1",
    )


def _whole(text: str | None) -> int:
    found = number(text)
    return int(found) if 0 < found < 1 << 31 else 0


def _ambiguous(path: Path) -> LeftOut:
    why = "two pictures have this name with different endings: whose boxes are they?"
    return LeftOut(Reason.ANNOTATION, str(path), why)
