"""Options of a detector of two stages. All public, all bounded."""

from typing import Literal

from pydantic import Field

from edgeveil.shared.tasks.detection.options import BoxOptions

MOST_FOUND = 100


class TwoStageOptions(BoxOptions):
    """`width` is that of the two layers that look at a proposal, `found_max` how many boxes are kept of a picture.

    `train` "classes" trains what tells proposals apart and nothing else; the body is never trained.
    """

    variant: Literal["mobilenet"] = "mobilenet"
    size: int = Field(default=320, ge=64, le=640, multiple_of=32)
    width: int = Field(default=256, ge=32, le=1024, multiple_of=32)
    found_max: int = Field(default=30, ge=1, le=MOST_FOUND)
    train: Literal["all", "classes"] = "all"
    TRAINING = BoxOptions.TRAINING | {"found_max"}
