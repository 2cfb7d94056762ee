"""Which protocol versions a side speaks, and the one two sides agree on (docs/protocol.md, "Versions")."""

from dataclasses import dataclass

from edgeveil.shared.base.errors import ProtocolError, RefusalCode
from edgeveil.shared.secagg.primitives.canonical import Malformed, u16, uint


@dataclass(frozen=True, slots=True)
class Versions:
    """Every version from `oldest` to `newest`, 1 to 65535."""

    oldest: int
    newest: int

    def encode(self) -> bytes:
        """Four bytes: u16 oldest ‖ u16 newest."""
        return u16(self.oldest) + u16(self.newest)

    @classmethod
    def decode(cls, data: bytes) -> "Versions":
        """Raise Malformed unless these are two ordered versions."""
        found = uint(data, 4)
        oldest, newest = found >> 16, found & 0xFFFF
        if not 1 <= oldest <= newest:
            raise Malformed(f"protocol versions {oldest} to {newest} are not in order")
        return cls(oldest, newest)

    def agree(self, coordinator: "Versions") -> int:
        """The newest version both speak; `self` are this agent's.

        Raises:
            ProtocolError: VERSION, with both sides' versions and which side to update.
        """
        common = min(self.newest, coordinator.newest)
        if common >= max(self.oldest, coordinator.oldest):
            return common
        older = "this agent" if self.newest < coordinator.oldest else "the coordinator"
        raise ProtocolError(
            RefusalCode.VERSION,
            f"the coordinator speaks protocol {coordinator}, this agent {self}; update {older}",
        )

    def __contains__(self, version: int) -> bool:
        return self.oldest <= version <= self.newest

    def __str__(self) -> str:
        one = self.oldest == self.newest
        return str(self.newest) if one else f"{self.oldest} to {self.newest}"
