"""`coordinator roster export | sign | import`: the roster's way to the offline key and back.

`sign` and the key functions are used by commands only; `coordinator serve` never calls them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from coordinator.store import Store
from shared.clock import Clock
from shared.identity import Identity, Signer
from shared.roster import Roster, SignedRoster

LIFETIME_S = 90 * 86_400


@dataclass(frozen=True, slots=True)
class RosterFile:
    """A candidate (empty signature) or a signed roster, with names for the human who signs."""

    roster: Roster
    signature: bytes
    names: Mapping[bytes, str]

    def encode(self) -> bytes: ...
    @classmethod
    def decode(cls, data: bytes) -> "RosterFile":
        """Raises ConfigError."""
        raise NotImplementedError


def export_roster(store: Store, federation_public: bytes, *, clock: Clock | None = None) -> bytes:
    """The unsigned candidate: next epoch, every joined agent that is not revoked, 90 days."""
    raise NotImplementedError


def sign_roster(candidate: bytes, federation: Signer) -> bytes:
    """Raises ConfigError (unreadable), EnrollmentError (another federation's roster)."""
    raise NotImplementedError


def import_roster(
    store: Store, signed: bytes, federation_public: bytes, *, clock: Clock | None = None
) -> SignedRoster:
    """Raises ConfigError (unreadable), EnrollmentError (signature, epoch, expired, unknown agent)."""
    raise NotImplementedError


def create_federation_key(path: Path, passphrase: bytes | None) -> Identity:
    """A new key at `path` (0600, PKCS#8 PEM, encrypted unless `passphrase` is None); never overwrites."""
    raise NotImplementedError


def load_federation_key(path: Path, passphrase: bytes | None) -> Identity:
    """Raises StateDamaged (absent, readable by others, not a key), EnrollmentError (passphrase)."""
    raise NotImplementedError


def is_encrypted(path: Path) -> bool: ...
