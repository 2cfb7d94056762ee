"""Pictures of the coordinator's own held-out data, as a run's folder keeps them for its report.

They show what a public model and the coordinator's own data make of each other: post-processing, of no device.
"""

import base64
from typing import Annotated, Literal, get_args

from pydantic import Field, ValidationError

from edgeveil.shared.base.config import Settings
from edgeveil.shared.base.errors import StateDamaged

Moment = Literal["truth", "before", "after"]
MOMENTS: tuple[Moment, ...] = get_args(Moment)
MOST_PICTURES = 6
MOST_PICTURE = 96 << 10  # bytes of one
MOST_FILE = 1 << 20


class Gallery(Settings):
    """`round` whose model found what is drawn; JPEGs in base64, the same records in every gallery of a run."""

    round: int = Field(ge=0)
    pictures: tuple[Annotated[str, Field(max_length=2 * MOST_PICTURE)], ...] = Field(
        min_length=1, max_length=MOST_PICTURES
    )

    @classmethod
    def of(cls, number: int, jpegs: tuple[bytes, ...]) -> "Gallery":
        return cls(round=number, pictures=tuple(base64.b64encode(each).decode() for each in jpegs))

    @property
    def jpegs(self) -> tuple[bytes, ...]:
        return tuple(base64.b64decode(each, validate=True) for each in self.pictures)

    def to_json(self) -> bytes:
        return self.model_dump_json().encode()


def name_of(moment: Moment) -> str:
    """Of the file in a run's folder."""
    return f"pictures-{moment}.json"


def parse(data: bytes, source: str) -> Gallery:
    """Raise StateDamaged for what is no gallery."""
    try:
        found = Gallery.model_validate_json(data)
        if not all(each.startswith(b"\xff\xd8") for each in found.jpegs):
            raise ValueError("a picture that is no JPEG")
    except (ValidationError, ValueError) as error:
        raise StateDamaged(
            f"{source}: these are no pictures of an evaluation; remove the file, and the report does without"
        ) from error
    return found
