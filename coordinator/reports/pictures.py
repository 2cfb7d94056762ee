"""What models found in some of the coordinator's own held-out pictures, before and after training."""

import base64
from pathlib import Path

from edgeveil.coordinator.records.gallery import (
    MOMENTS,
    MOST_FILE,
    Gallery,
    Moment,
    name_of,
    parse,
)
from edgeveil.coordinator.reports.facts import RunFacts
from edgeveil.coordinator.reports.words import Words
from edgeveil.shared.base.errors import StateDamaged
from edgeveil.shared.pages.text import escape


def galleries(folder: Path) -> dict[Moment, Gallery]:
    """Those in a run's folder; raises StateDamaged for a file that is none."""
    found: dict[Moment, Gallery] = {}
    for moment in MOMENTS:
        path = folder / name_of(moment)
        try:
            with path.open("rb") as file:
                data = file.read(MOST_FILE + 1)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise StateDamaged(f"{path}: cannot be read ({error.strerror})") from error
        found[moment] = parse(data if len(data) <= MOST_FILE else b"", str(path))
    return found


def pictures(found: RunFacts, words: Words) -> str:
    """A row for each picture: the truth, then what the models found; "" where there are none."""
    shown = {moment: found.galleries[moment] for moment in MOMENTS if moment in found.galleries}
    count = min((len(each.pictures) for each in shown.values()), default=0)
    figures = (
        _figure(gallery.jpegs[at], _caption(moment, at + 1, gallery.round, words))
        for at in range(count)
        for moment, gallery in shown.items()
    )
    return f'<div class="sheet by{len(shown)}">{"".join(figures)}</div>' if count else ""


def _caption(moment: Moment, number: int, after: int, words: Words) -> str:
    if moment == "truth":
        return words("pictures_truth", number=number)
    if moment == "before":
        return words("pictures_before", number=number)
    return words("pictures_after", number=number, round=after)


def _figure(jpeg: bytes, caption: str) -> str:
    data, said = base64.b64encode(jpeg).decode("ascii"), escape(caption)
    image = f'<img alt="{said}" src="data:image/jpeg;base64,{data}">'
    return f"<figure>{image}<figcaption>{said}</figcaption></figure>"
