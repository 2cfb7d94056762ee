"""Which rounds of a run have been packaged: a small file beside its models, for `coordinator models` alone."""

import contextlib
import json
from pathlib import Path

from edgeveil.shared.base.files import write_atomic

FILE = "exported.json"
MOST_BYTES = 1 << 20


def note(folder: Path, number: int, model: str) -> None:
    """Of run folder `folder`; a full disk is no reason to fail, the package is written."""
    known = rounds(folder) | {number: model}
    data = json.dumps({str(key): known[key] for key in sorted(known)}).encode("ascii")
    with contextlib.suppress(OSError):
        write_atomic(folder / FILE, data)


def rounds(folder: Path) -> dict[int, str]:
    """The name of the newest package by round; what cannot be read counts as nothing."""
    with contextlib.suppress(OSError, ValueError, AttributeError, RecursionError):
        with (folder / FILE).open("rb") as file:
            found = json.loads(file.read(MOST_BYTES))
        return {int(number): str(model) for number, model in found.items()}
    return {}
