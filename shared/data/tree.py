"""What lies in a folder of class folders, by names alone: files of one kind, and everything that is none.

The only place that lists such folders, so that whoever counts, hashes or reads them sees the same.
Names of class folders are compared in Unicode form NFC: the same name, typed on another system, can have
other bytes.
"""

import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgeveil.shared.base.errors import DataError
from edgeveil.shared.data.left_out import LeftOut, Reason, by_reason

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
MOST_LOOKED_AT = 100_000  # entries of one folder that is left out, when its files are counted


@dataclass(frozen=True, slots=True)
class Kind:
    """Which files are records, by how their names end; `called` as in "pictures belong …"."""

    called: str
    suffixes: tuple[str, ...]

    def ends(self, name: str) -> bool:
        return name.lower().endswith(self.suffixes)

    @property
    def other(self) -> str:
        """What is said of every other file."""
        return f"not one of {', '.join(self.suffixes)}"


PICTURES = Kind("pictures", SUFFIXES)


@dataclass(frozen=True, slots=True)
class Tree:
    """`labels` ascending, in NFC; `files` with their label, in the order of folders and names."""

    labels: tuple[str, ...]
    files: tuple[tuple[str, Path], ...]
    left: tuple[LeftOut, ...]


def look(root: Path, kind: Kind = PICTURES) -> Tree:
    """Every entry of `root` and of its class folders, each in one of the three.

    Raises:
        DataError: `root` itself cannot be listed.
    """
    try:
        entries = _entries(root)
    except OSError as error:
        raise DataError(f"{root}: this folder cannot be read ({error.strerror})") from error
    labels: set[str] = set()
    files: list[tuple[str, Path]] = []
    left: list[LeftOut] = []
    for entry in entries:
        label = nfc(entry.name)
        if entry.name[0] == ".":
            left.append(_left(Reason.HIDDEN, entry, "hidden, so not looked at"))
        elif not _is_folder(entry):
            left.append(_beside(entry, kind))
        elif label is None:
            why = "the name of this folder is not UTF-8; rename it"
            left.append(_left(Reason.LABEL, entry, why, _inside(entry)))
        else:
            labels.add(label)
            files += ((label, path) for path in _class_folder(Path(entry.path), kind, left))
    return Tree(tuple(sorted(labels)), tuple(files), by_reason(left))


def nfc(name: str) -> str | None:
    """The name of a class as it is compared; None for bytes that are no text."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return None
    return unicodedata.normalize("NFC", name)


def archives(path: Path) -> list[Path]:
    """The .npz file, or those directly in a folder; hidden ones are another system's notes."""
    if path.is_file():
        return [path]
    found = (each for each in path.glob("*.npz") if each.name[0] != "." and each.is_file())
    return sorted(found)


def _class_folder(folder: Path, kind: Kind, left: list[LeftOut]) -> Iterator[Path]:
    """Its files of that kind; what is none is added to `left`."""
    try:
        entries = _entries(folder)
    except OSError as error:
        why = f"this folder cannot be read ({error.strerror})"
        left.append(LeftOut(Reason.UNREADABLE, str(folder), why))
        return
    for entry in entries:
        if entry.name[0] == ".":
            left.append(_left(Reason.HIDDEN, entry, "hidden, so not looked at"))
        elif _is_folder(entry):
            count = _inside(entry)
            files = "1 file" if count == 1 else f"{count} files"
            why = f"a folder, with {files} in it: {kind.called} belong directly into {folder.name}"
            left.append(_left(Reason.NESTED, entry, why, count))
        elif not kind.ends(entry.name):
            left.append(_left(Reason.KIND, entry, kind.other))
        elif not _is_file(entry):
            left.append(_left(Reason.UNREADABLE, entry, "a link that leads nowhere, or no file"))
        else:
            yield folder / entry.name


def _beside(entry: os.DirEntry[str], kind: Kind) -> LeftOut:
    """What lies at the root and is no folder."""
    if kind.ends(entry.name):
        return _left(Reason.STRAY, entry, "put it into the folder of its class")
    return _left(Reason.KIND, entry, kind.other)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """In the order of their names, so that every machine reads the same order."""
    with os.scandir(folder) as found:
        return sorted(found, key=lambda entry: entry.name)


def _left(reason: Reason, entry: os.DirEntry[str], why: str, count: int = 1) -> LeftOut:
    return LeftOut(reason, entry.path, why, count)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself, or into what nobody may enter
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


def _inside(folder: os.DirEntry[str]) -> int:
    """Files in a folder that is left out, however deep, for its owner to know; links are not followed."""
    if folder.is_symlink():
        return 1
    pending, files, seen = [folder.path], 0, 0
    while pending and seen < MOST_LOOKED_AT:
        try:
            entries = _entries(Path(pending.pop()))
        except OSError:
            continue
        seen += len(entries)
        inner = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        files += len(entries) - len(inner)
        pending += inner
    return files
