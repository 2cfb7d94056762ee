"""Pictures below a folder, and small files of annotations, that nobody vouches for."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from edgeveil.shared.data.left_out import LeftOut, Reason
from edgeveil.shared.data.tree import PICTURES, nfc

DEEPEST = 4  # folders below the folder of pictures
NUMBER = re.compile(r"[+-]?(\d{1,30}(\.\d{0,30})?|\.\d{1,30})([eE][+-]?\d{1,3})?", re.ASCII)


def pictures_in(folder: Path, left: list[LeftOut]) -> dict[str, Path]:
    """Pictures by their name as seen from `folder`, in NFC and with /; what is none is added to `left`.

    Links to folders are not followed.
    """
    return dict(sorted(_walk(folder, left)))


def files_in(folder: Path, suffix: str, left: list[LeftOut]) -> dict[str, Path]:
    """Files of one kind by their name without suffix, as pictures_in gives them; folders that are not entered go to `left`."""
    found: dict[str, Path] = {}
    for inner, folders, names in os.walk(folder, onerror=_unreadable(left)):
        _bounded(folder, inner, folders, left)
        for name in names:
            if name[0] != "." and name.lower().endswith(suffix):
                found[_relative(folder, inner, name)[: -len(suffix)]] = Path(inner, name)
    return dict(sorted(found.items()))


def without_suffix(name: str) -> str:
    return name.rpartition(".")[0]


def number(text: str | None) -> float:
    """A plain decimal number; NaN for everything else."""
    text = (text or "").strip()
    return float(text) if NUMBER.fullmatch(text) else float("nan")


def _walk(folder: Path, left: list[LeftOut]) -> Iterator[tuple[str, Path]]:
    for inner, folders, names in os.walk(folder, onerror=_unreadable(left)):
        _bounded(folder, inner, folders, left)
        for name in sorted(names):
            path = Path(inner, name)
            if name[0] == ".":
                left.append(LeftOut(Reason.HIDDEN, str(path), "hidden, so not looked at"))
            elif not PICTURES.ends(name):
                left.append(LeftOut(Reason.KIND, str(path), PICTURES.other))
            else:
                yield _relative(folder, inner, name), path


def _unreadable(left: list[LeftOut]) -> Callable[[OSError], None]:
    def told(error: OSError) -> None:
        why = f"this folder cannot be read ({error.strerror})"
        left.append(LeftOut(Reason.UNREADABLE, str(error.filename), why))

    return told


def _bounded(folder: Path, inner: str, folders: list[str], left: list[LeftOut]) -> None:
    """Goes on in order, and not below DEEPEST, into links or into what is hidden, which is told."""
    deep = len(Path(inner).relative_to(folder).parts)
    entered = []
    for each in sorted(folders):
        path = Path(inner, each)
        if each[0] == ".":
            left.append(LeftOut(Reason.HIDDEN, str(path), "hidden, so not looked at"))
        elif path.is_symlink():
            why = "a link to a folder is not followed; put the files themselves there"
            left.append(LeftOut(Reason.UNREADABLE, str(path), why))
        elif deep >= DEEPEST:
            why = f"more than {DEEPEST} folders deep; move it up"
            left.append(LeftOut(Reason.UNREADABLE, str(path), why))
        else:
            entered.append(each)
    folders[:] = entered


def _relative(folder: Path, inner: str, name: str) -> str:
    text = (Path(inner).relative_to(folder) / name).as_posix()
    return nfc(text) or text
