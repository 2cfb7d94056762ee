"""What a model package says of its model: where it comes from, what it takes and gives, what it cost.

JSON with sorted keys and nothing between its values: equal manifests have equal bytes. All of it is the
coordinator's word, signed by it (docs/models.md, "The file").
"""

import json
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from edgeveil.shared.models.given import Given
from edgeveil.shared.models.origin import Derived, Origin, Piece, Privacy
from edgeveil.shared.models.parts import Hash, Long, Part, Rows, Text
from edgeveil.shared.models.taken import Taken

SCHEMA = 1
# Keys of an input that stand in a manifest only where they say something: packages of before have none.
_LATER = {"signed_log": "", "foretold": ""}


class WrongSchema(ValueError):
    """Of another version of this form; the sentence says which."""


class Task(Part):
    """`hash` is that of the code which trained it (protocol.md, "Encodings")."""

    id: Text
    version: Text
    hash: Hash
    options: dict[Text, Long | int | bool | float]


class Manifest(Part):
    """`preprocessing` is a sentence about what the graph itself does to its input; `self_test` what the graph
    gives of the records of known_answer.py, a row each, None in packages of before there was one.
    """

    schema_version: Literal[1] = 1
    task: Task
    input: Annotated[Taken, Field(discriminator="kind")]
    preprocessing: Long
    output: Annotated[Given, Field(discriminator="kind")]
    origin: Origin
    privacy: Privacy
    metrics: dict[Text, float]  # on the coordinator's own held-out data
    licence: Text
    software: dict[Text, Text]
    model: Piece
    weights: Piece
    self_test: Rows | None = None
    derived: Derived | None = None  # None of what a coordinator exports

    def encode(self) -> bytes:
        values = self.model_dump(mode="json")
        for later in ("self_test", "derived"):
            if values[later] is None:
                del values[later]
        for key, nothing in _LATER.items():
            if values["input"].get(key) == nothing:
                del values["input"][key]
        if values["privacy"]["sums"] is None:
            del values["privacy"]["sums"]
        return json.dumps(values, sort_keys=True, separators=(",", ":")).encode("ascii")

    @classmethod
    def decode(cls, data: bytes) -> "Manifest":
        """Parse; exactly what encode() writes.

        Raises:
            WrongSchema: of another version.
            ValueError: no manifest, or not in its one spelling.
        """
        try:
            version = _version(json.loads(data))
            if version != SCHEMA:
                raise WrongSchema(
                    f"its manifest has version {version}, this edgeveil reads {SCHEMA}: "
                    f"{'update edgeveil' if version > SCHEMA else 'export the model anew'}"
                )
            found = cls.model_validate_json(data)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ValueError(
                f"its manifest is wrong at {where or 'all'}: {first['msg']}"
            ) from error
        except (ValueError, RecursionError) as error:
            if isinstance(error, WrongSchema):
                raise
            raise ValueError("its manifest is not readable") from error
        if found.encode() != data:
            raise ValueError("its manifest is not in its canonical form")
        return found


def _version(values: Any) -> int:
    found = values.get("schema_version") if isinstance(values, dict) else None
    if type(found) is not int:
        raise ValueError("no version")
    return found
