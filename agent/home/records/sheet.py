"""A sheet of thumbnails: what a task sees of the owner's pictures, on one page that asks nobody for anything.

For the owner's eyes: are these the right pictures, in the right class, the right way up? The page holds the
pictures themselves, so it is a file only its owner may read, and nothing of it is sent.
"""

import base64
import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeveil.shared.data.images import Images
from edgeveil.shared.data.left_out import LeftOut, total
from edgeveil.shared.pages.document import document
from edgeveil.shared.pages.markup import Raw, section, table
from edgeveil.shared.pages.text import escape

EACH = 12  # pictures of one class, evenly spread over it
MOST = 600  # pictures in all: with many classes fewer of each, one at least
LARGEST = 96  # pixels of the longer side of a thumbnail
NAMED = 200  # files that were left out


def sheet(found: Images, labels: tuple[str, ...], path: Path) -> str:
    """The page; of a class that has more pictures than are shown it says how many there are."""
    each = max(1, min(EACH, MOST // max(1, len(labels))))
    parts = [f"<h1>{escape(path)}</h1>", _counts(found, labels)]
    for index, label in enumerate(labels):
        rows = np.flatnonzero(found.targets == index)
        shown = rows[np.linspace(0, len(rows) - 1, min(each, len(rows))).round().astype(int)]
        note = f"{len(shown)} of {len(rows)}" if len(rows) else "none"
        pictures = "".join(_thumbnail(found.pixels[row], label) for row in shown)
        parts.append(section(f"class-{index}", label, f"<p>{pictures}</p>", note))
    parts.append(_left_out(found.left, path))
    main = f'<main id="main">{"".join(parts)}</main>'
    return document("en", f"{path.name} · Edgeveil", main, pictures=True)


def _counts(found: Images, labels: tuple[str, ...]) -> str:
    height, width, *rest = found.pixels.shape[1:]
    colours = "in colours" if rest else "grey"
    text = f"{len(found.targets)} pictures in {len(labels)} classes, {height}×{width} {colours}"
    return f"<p>{escape(text)}; {total(found.left)} left out. Each is shown as a task sees it.</p>"


def _thumbnail(pixels: NDArray[np.float32], label: str) -> str:
    return f'<img src="data:image/png;base64,{_png(pixels)}" alt="{escape(label)}"> '


def _png(pixels: NDArray[np.float32]) -> str:
    from PIL import Image  # noqa: PLC0415 - only for this

    image = Image.fromarray((pixels * 255).round().astype(np.uint8))
    image.thumbnail((LARGEST, LARGEST))
    data = io.BytesIO()
    image.save(data, "PNG")
    return base64.b64encode(data.getvalue()).decode("ascii")


def _left_out(left: Iterable[LeftOut], root: Path) -> str:
    every = tuple(left)
    rows = [
        (each.reason.value, each.name.removeprefix(f"{root}/"), each.why) for each in every[:NAMED]
    ]
    if not rows:
        return ""
    more = total(every[NAMED:])
    note = f"and {more} more; agent data check counts them" if more else ""
    shown = Raw(table(("why", "file", "what is wrong"), rows, label="Left out"))
    return section("left-out", "Left out", shown, note)
