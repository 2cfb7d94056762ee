"""A contact sheet of the owner's records as one HTML file, which holds its pictures in itself and asks nobody."""

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgeveil.shared.data.left_out import LeftOut
from edgeveil.shared.pages.document import document
from edgeveil.shared.pages.markup import facts, section, table
from edgeveil.shared.pages.text import escape

MOST_NAMED = 200  # left out: named one by one


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """`jpeg` as it is shown; `caption` is foreign text."""

    jpeg: bytes
    caption: str


@dataclass(frozen=True, slots=True)
class Group:
    title: str
    shown: Sequence[Thumbnail]
    of: int  # records there are


def contact_sheet(
    title: str, about: dict[str, object], groups: Iterable[Group], left: Sequence[LeftOut]
) -> str:
    """The whole page."""
    parts = [section("about", title, facts(about))]
    for at, group in enumerate(groups):
        figures = "".join(_figure(each) for each in group.shown)
        note = f"{len(group.shown):,} of {group.of:,}"
        parts.append(
            section(f"group-{at}", group.title, f'<div class="sheet">{figures}</div>', note)
        )
    if left:
        rows = [(each.name, each.why) for each in left[:MOST_NAMED]]
        named = table(("file", "why"), rows, label="Left out")
        more = f"{len(left) - MOST_NAMED:,} more are not named here" if len(left) > MOST_NAMED else ""  # fmt: skip
        parts.append(section("left", "Left out", named, more))
    body = f'<main id="main"><h1>{escape(title)}</h1>{"".join(parts)}</main>'
    return document("en", title, body, pictures=True)


def _figure(each: Thumbnail) -> str:
    data, caption = base64.b64encode(each.jpeg).decode("ascii"), escape(each.caption)
    image = f'<img alt="{caption}" src="data:image/jpeg;base64,{data}">'
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"
