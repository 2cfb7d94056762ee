"""`coordinator roster export | sign | import`: the roster's way to the offline key and back.

A file carries the members' names next to the bytes that are signed, so that the human who signs
sees whom. Signing and the key functions are for commands only; `coordinator serve` never calls them.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import BaseModel, ConfigDict, ValidationError

from edgeveil.coordinator.plan.config import CoordinatorConfig
from edgeveil.coordinator.records.records import EnrolledAgent
from edgeveil.shared.base.clock import Clock, SystemClock
from edgeveil.shared.base.errors import ConfigError, EnrollmentError, ProtocolError, StateDamaged
from edgeveil.shared.base.files import read_secret, write_secret
from edgeveil.shared.base.names import check_name
from edgeveil.shared.wire.identity import Identity, Signer
from edgeveil.shared.wire.roster import Roster, SignedRoster, federation_id

if TYPE_CHECKING:  # the machine that signs needs no database
    from edgeveil.coordinator.store.store import Store

FEDERATION_KEY = "federation.key"
LIFETIME_S = 90 * 86_400
MOST_EPOCHS = 10**9
MAX_FILE = 4 << 20  # bytes; 10,000 members have about 2 MB
ENCRYPTED = b"ENCRYPTED PRIVATE KEY"


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    body: str
    signature: str
    names: dict[str, str]


@dataclass(frozen=True, slots=True)
class RosterFile:
    """A candidate (empty signature) or a signed roster; `names` by agent id."""

    roster: Roster
    signature: bytes
    names: Mapping[bytes, str]

    def encode(self) -> bytes:
        values = {
            "body": self.roster.body().hex(),
            "signature": self.signature.hex(),
            "names": {agent.hex(): self.names[agent] for agent in sorted(self.names)},
        }
        return json.dumps(values, indent=1).encode("ascii") + b"\n"

    @classmethod
    def decode(cls, data: bytes) -> "RosterFile":
        """Parse without verifying the signature; raises ConfigError."""
        try:
            if len(data) > MAX_FILE:
                raise ValueError(f"larger than {MAX_FILE} bytes")
            file = _File.model_validate_json(data)
            names = {
                bytes.fromhex(agent): check_name(name, "a member's name")
                for agent, name in file.names.items()
            }
            roster = Roster.decode(bytes.fromhex(file.body))
            signature = bytes.fromhex(file.signature)
        except (ValidationError, ValueError, RecursionError, ProtocolError, ConfigError) as error:
            # Without the parser's words: they would repeat the content of whatever file this is.
            raise ConfigError("this is not a roster file; export it again") from error
        if names.keys() != roster.members.keys():
            raise ConfigError("the names of this roster file are not those of its members")
        return cls(roster, signature, names)


def export_roster(
    store: "Store",
    federation_public: bytes,
    *,
    epoch: int | None = None,
    clock: Clock | None = None,
) -> bytes:
    """The unsigned candidate: every approved agent that is not revoked, 90 days.

    It is empty when the last member of a roster was revoked. `epoch` is the next one unless given.

    Raises:
        ConfigError: nobody has joined, or nobody who has is approved; `epoch` is not above the
            present one, or too high to be followed by others.
    """
    least = store.next_epoch()
    if epoch is not None and not least <= epoch <= MOST_EPOCHS:
        raise ConfigError(f"--epoch {epoch}: must be from {least} to {MOST_EPOCHS}")
    agents = entitled(store)
    if not agents and store.roster() is None:
        raise ConfigError(
            "nobody has joined yet, or nobody is approved; invite agents first: coordinator invite "
            "NAME, and see: coordinator agents"
        )
    now = int((clock or SystemClock()).wall())
    roster = Roster(
        federation_id(federation_public),
        epoch or least,
        issued=now,
        expires=now + LIFETIME_S,
        members={agent.agent_id: agent.identity_public for agent in agents},
    )
    return RosterFile(roster, b"", {agent.agent_id: agent.name for agent in agents}).encode()


def entitled(store: "Store") -> list[EnrolledAgent]:
    """Who belongs on the next roster."""
    return [agent for agent in store.agents() if not agent.held]


def is_due(store: "Store", *, clock: Clock | None = None) -> bool:
    """Whether the roster in force misses somebody, holds somebody revoked, or is a third over."""
    wanted = {agent.agent_id for agent in entitled(store)}
    signed = store.roster()
    if signed is None:
        return bool(wanted)
    roster = signed.roster
    late = roster.issued + (roster.expires - roster.issued) / 3
    return wanted != set(roster.members) or (clock or SystemClock()).wall() >= late


def key_beside(home: Path, config: CoordinatorConfig) -> Path | None:
    """Where the federation key lies on the coordinator's own machine, as far as it can be told from here."""
    path = (config.federation_folder or home.parent / "federation") / FEDERATION_KEY
    return path if path.exists() or config.federation_folder is not None else None


def sign_roster(candidate: bytes, federation: Signer) -> bytes:
    """The signed file.

    Raises:
        ConfigError: unreadable.
        EnrollmentError: the roster of another federation.
    """
    file = RosterFile.decode(candidate)
    if file.roster.federation_id != federation_id(federation.public):
        raise EnrollmentError("this roster belongs to another federation than this key")
    return replace(file, signature=SignedRoster.sign(file.roster, federation).signature).encode()


def open_federation_key(folder: Path, passphrase: Callable[[], bytes]) -> Identity:
    """The key in `folder`; raises ConfigError when there is none, else as load_federation_key()."""
    path = folder / FEDERATION_KEY
    if not path.exists():
        raise ConfigError(f"{path}: no federation key here; name its folder with --federation")
    return load_federation_key(path, passphrase() if is_encrypted(path) else None)


def import_roster(
    store: "Store", signed: bytes, federation_public: bytes, *, clock: Clock | None = None
) -> SignedRoster:
    """Verify a signed file and put it in force; the same file again changes nothing.

    Raises:
        ConfigError: unreadable.
        EnrollmentError: not signed by this federation, expired, epoch not above the present one,
            or a member that has not joined here or was revoked since the export.
    """
    file = RosterFile.decode(signed)
    if not file.signature:
        raise EnrollmentError("this roster is not signed yet; run: coordinator roster sign")
    try:
        opened = SignedRoster.open(file.roster.body(), file.signature, federation_public)
    except ProtocolError as error:
        raise EnrollmentError(f"roster refused: {error.message}; sign it again") from error
    if (clock or SystemClock()).wall() > opened.roster.expires:
        raise EnrollmentError("this roster has expired; export and sign a new one")
    _check_members(opened.roster, store.agents(include_revoked=True), file.names)
    store.save_roster(opened)
    return opened


def create_federation_key(path: Path, passphrase: bytes | None) -> Identity:
    """A new key at `path` (0600, PKCS#8 PEM); None stores it without encryption.

    Raises:
        ConfigError: something is there already, which is never overwritten; an empty passphrase.
    """
    if path.exists() or path.is_symlink():
        raise ConfigError(f"{path}: exists already; a federation key is never overwritten")
    if passphrase == b"":
        raise ConfigError("an empty passphrase protects nothing; choose one, or none explicitly")
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        encryption = serialization.BestAvailableEncryption(passphrase)
    private = Ed25519PrivateKey.generate()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_secret(
        path,
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
        ),
    )
    return Identity(private)


def load_federation_key(path: Path, passphrase: bytes | None) -> Identity:
    """Read what create_federation_key() wrote; a passphrase not needed is ignored.

    Raises:
        StateDamaged: absent, readable by others, or not an Ed25519 key.
        EnrollmentError: the passphrase is missing or wrong.
    """
    data = read_secret(path)
    encrypted = ENCRYPTED in data
    if encrypted and not passphrase:
        raise EnrollmentError(f"{path}: this key is encrypted; its passphrase is needed")
    try:
        private = serialization.load_pem_private_key(data, passphrase if encrypted else None)
    except (ValueError, TypeError) as error:
        if encrypted:
            raise EnrollmentError(f"{path}: the passphrase is wrong") from error
        raise StateDamaged(f"{path}: not a readable private key") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise StateDamaged(f"{path}: a federation key is an Ed25519 key, this is another kind")
    return Identity(private)


def is_encrypted(path: Path) -> bool:
    """Whether load_federation_key() will need a passphrase; raises StateDamaged."""
    return ENCRYPTED in read_secret(path)


def _check_members(roster: Roster, agents: list[EnrolledAgent], names: Mapping[bytes, str]) -> None:
    known = {agent.agent_id: agent for agent in agents}
    for member in roster.members:
        if member not in known:
            raise EnrollmentError(f"{names[member]} has not joined this coordinator")
        if known[member].revoked is not None:
            raise EnrollmentError(
                f"{names[member]} was revoked since this roster was exported; export it again"
            )
        if known[member].held:
            raise EnrollmentError(
                f"{names[member]} is not approved yet; run: coordinator agents approve {names[member]}"
            )
