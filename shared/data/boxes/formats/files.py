"""Pictures below a folder, and small files of annotations, that nobody vouches for."""

import os
import re
from collections.abc import Iterator
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


def files_in(folder: Path, suffix: str) -> dict[str, Path]:
    """Files of one kind by their name without suffix, as pictures_in gives them."""
    found: dict[str, Path] = {}
    for inner, folders, names in os.walk(folder):
        _bounded(folder, inner, folders)
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
    def unreadable(error: OSError) -> None:
        why = f"this folder cannot be read ({error.strerror})"
        left.append(LeftOut(Reason.UNREADABLE, str(error.filename), why))

    for inner, folders, names in os.walk(folder, onerror=unreadable):
        _bounded(folder, inner, folders)
        for name in sorted(names):
            path = Path(inner, name)
            if name[0] == ".":
                left.append(LeftOut(Reason.HIDDEN, str(path), "hidden, so not looked at"))
            elif not PICTURES.ends(name):
                left.append(LeftOut(Reason.KIND, str(path), PICTURES.other))
            else:
                yield _relative(folder, inner, name), path


def _bounded(folder: Path, inner: str, folders: list[str]) -> None:
    """Goes on in order, and not below DEEPEST or into what is hidden."""
    deep = len(Path(inner).relative_to(folder).parts)
    folders[:] = sorted(each for each in folders if each[0] != "." and deep < DEEPEST)


def _relative(folder: Path, inner: str, name: str) -> str:
    text = (Path(inner).relative_to(folder) / name).as_posix()
    return nfc(text) or text
