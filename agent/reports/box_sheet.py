"""Some pictures of each class with their boxes drawn, so that their owner sees whether the boxes are right."""

from pathlib import Path

from edgeveil.agent.reports.sheet import Group, Thumbnail, contact_sheet
from edgeveil.shared.data.boxes.drawing import draw, jpeg
from edgeveil.shared.data.boxes.fitting import IGNORED
from edgeveil.shared.data.boxes.reading import Square
from edgeveil.shared.data.boxes.schema import BoxSchema
from edgeveil.shared.data.boxes.sights import Drawn
from edgeveil.shared.data.left_out import LeftOut

SHOWN = 12  # pictures of a class
MOST_SHOWN = 240  # pictures in all
NOTHING = "without a box"


def box_sheet(path: Path, schema: BoxSchema, about: dict[str, object]) -> str:
    """The page, of the records at `path`; raises DataError as reading them does. Nothing is written or sent."""
    shown: dict[str, list[Thumbnail]] = {label: [] for label in (*schema.labels, NOTHING)}
    counts = dict.fromkeys(shown, 0)
    left: list[LeftOut] = []
    drawn = 0
    for square in schema.squares(path, left):
        names = {schema.labels[int(kind)] for kind in square.rows[:, 0] if kind >= 0} or {NOTHING}
        for name in names:
            counts[name] += 1
        wanting = min(names, key=lambda name: len(shown[name]))
        if drawn < MOST_SHOWN and len(shown[wanting]) < SHOWN:
            shown[wanting].append(_thumbnail(square, path, schema.labels))
            drawn += 1
    groups = [Group(label, each, counts[label]) for label, each in shown.items() if counts[label]]
    return contact_sheet("Pictures with boxes", about, groups, left)


def _thumbnail(square: Square, root: Path, labels: tuple[str, ...]) -> Thumbnail:
    """A box is told by its class; one that is to be ignored by "(ignored)"."""
    boxes = []
    for kind, x1, y1, x2, y2 in square.rows.tolist():
        ignored = kind < 0
        index = int(IGNORED - kind if ignored else kind)
        text = f"{labels[index]} (ignored)" if ignored else labels[index]
        boxes.append(Drawn(text, (x1, y1, x2, y2), index))
    image = draw(square.pixels.transpose(1, 2, 0), boxes)
    return Thumbnail(jpeg(image), square.name.removeprefix(f"{root}/"))
