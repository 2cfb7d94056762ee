"""How a device stands with its coordinator: the answer to a signed POST /v1/whoami (docs/transport.md).

`agent doctor` asks it. The question neither begins nor ends a session, so that it can be asked
beside a running agent.
"""

from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from edgeveil.shared.base.names import NAME
from edgeveil.shared.base.peer_json import PeerJson
from edgeveil.shared.wire.plan import Option

PATH = "/v1/whoami"
MAX_ANSWER = 64 << 10

_STRICT = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False)
_Id = Annotated[str, Field(pattern=rf"^{NAME.pattern}$")]
_Version = Annotated[str, Field(pattern=r"^[0-9A-Za-z.+-]{1,40}$")]


class InstalledTask(BaseModel):
    """`code` is the SHA-256 in hex that offers carry."""

    model_config = _STRICT

    id: _Id
    version: _Version
    code: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class PlannedTask(BaseModel):
    """What the run under way or next in the queue asks of a device."""

    model_config = _STRICT

    id: _Id
    version: _Version
    options: dict[str, Option] = Field(max_length=32)


class Standing(PeerJson):
    """`epoch` of the roster in force; `session` the newest start of this device that was seen, or 0."""

    model_config = _STRICT
    called: ClassVar[str] = "an answer to a doctor"

    name: _Id
    connected: bool
    session: int = Field(ge=0)
    epoch: int = Field(ge=0)
    tasks: list[InstalledTask] = Field(max_length=256)
    plan: PlannedTask | None = None
