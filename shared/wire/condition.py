"""What a device says of itself before it asks for work: power and load, in three flags.

The body of a signed POST /v1/condition (docs/transport.md). It is sent only where the device's owner
allows it, and it is the device's word: nothing is proved by it, and its own rule decides in the end.
"""

from typing import ClassVar, Literal

from edgeveil.shared.base.peer_json import PeerJson

PATH = "/v1/condition"
MOST_BYTES = 128

Flag = Literal["charging", "battery", "idle"]


class Condition(PeerJson):
    """Of each flag whether it holds, or None: not known, or not told.

    `charging`: on outside power; a device without a battery always is. `battery`: charged as far as
    its owner wants. `idle`: other programs leave the processors alone.
    """

    called: ClassVar[str] = "a condition of a device"

    charging: bool | None = None
    battery: bool | None = None
    idle: bool | None = None

    def lacks(self, flags: tuple[Flag, ...]) -> tuple[Flag, ...]:
        """Those of `flags` that this device says do not hold; one it does not know is not among them."""
        return tuple(flag for flag in flags if getattr(self, flag) is False)

    def encode(self) -> bytes:
        """At most MOST_BYTES of JSON."""
        return self.model_dump_json().encode("ascii")
