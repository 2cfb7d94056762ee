"""JSON that another party sends: exactly what the model says, or refused as malformed."""

from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from edgeveil.shared.base.errors import ProtocolError, RefusalCode


class PeerJson(BaseModel):
    """`called` stands in the refusal, with its article."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    called: ClassVar[str]

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Parse; raises ProtocolError(MALFORMED)."""
        try:
            return cls.model_validate_json(body)
        except (ValidationError, RecursionError) as error:
            raise ProtocolError(RefusalCode.MALFORMED, f"not {cls.called}") from error
