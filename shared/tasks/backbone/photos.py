"""At what size photos are taken where nobody has said so yet, by a device for good and by a first plan."""

import math
from dataclasses import replace
from pathlib import Path

from edgeveil.shared.data.images import MAX_VALUES
from edgeveil.shared.data.kinds import RecordSchema, infer
from edgeveil.shared.data.probe import count_records
from edgeveil.shared.data.schema import PHOTO, Schema
from edgeveil.shared.data.tree import archives
from edgeveil.shared.tasks.backbone import asset


def suited(path: Path) -> RecordSchema:
    """What the records at `path` are, as shared.data.kinds.infer says, but for photos in colours.

    Where the weights are installed these are brought to SIDE, as long as all of them fit into memory.
    Raises DataError.
    """
    found = infer(path)
    photos = (*PHOTO, 3) == found.shape and not archives(path)
    if not isinstance(found, Schema) or not photos or not asset.installed():
        return found
    larger = replace(found, shape=(asset.SIDE, asset.SIDE, 3))
    return larger if math.prod(larger.shape) * count_records(path) <= MAX_VALUES else found
