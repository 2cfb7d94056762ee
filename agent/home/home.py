"""The agent's home folder: keys, pins, roster and counters. Everything is saved before it is sent.

Only `agent run` holds the lock; the ledger has its own (agent.ledger.store). A file that is there
but cannot be read stops the agent: starting afresh would forget what the device has promised.
"""

import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from edgeveil.shared.base.errors import EnrollmentError, ProtocolError, RefusalCode, StateDamaged
from edgeveil.shared.base.failpoints import Failpoint, failpoint
from edgeveil.shared.base.files import (
    exclusive_lock,
    fsync_directory,
    private_directory,
    read_secret,
    write_atomic,
    write_secret,
)
from edgeveil.shared.base.names import NAME
from edgeveil.shared.wire.identity import Identity
from edgeveil.shared.wire.messages import Attempt
from edgeveil.shared.wire.roster import Roster, SignedRoster, agent_id, check_newer
from edgeveil.shared.wire.tokens import Token

PAUSED = "paused"  # the file that is there while the owner pauses this device
MOST_RUNS = 10_000  # whose counters are kept; a run id has at most 40 characters
MAX_STATE = 4 << 20  # bytes; a roster of 10,000 members has about 1 MB in hex

_FILE = ConfigDict(
    extra="forbid", frozen=True, ser_json_bytes="hex", val_json_bytes="hex", allow_inf_nan=False
)
_Key = Annotated[bytes, Field(min_length=32, max_length=32)]
_Id = Annotated[bytes, Field(min_length=16, max_length=16)]
_Count = Annotated[int, Field(ge=1)]
_Model = TypeVar("_Model", bound=BaseModel)


class Pinned(BaseModel):
    """What this device believes about its coordinator since it joined. Keys are raw bytes.

    `pending`: joined, on no roster known here; `member`: on the roster. `offline`: the token said that the
    federation key is not on the coordinator's machine; one of a device that joined before says nothing.
    """

    model_config = _FILE

    url: str = Field(pattern=r"^https://[^/\s]+$")
    ca_pem: bytes
    coordinator_public: _Key
    federation_public: _Key
    name: str = Field(pattern=rf"^{NAME.pattern}$")
    agent_id: _Id
    token_id: _Id
    state: Literal["pending", "member"]
    offline: bool = False


class _RosterFile(BaseModel):
    model_config = _FILE

    body: bytes
    signature: bytes


class _SessionFile(BaseModel):
    model_config = _FILE

    session: _Count


_ROUNDS = TypeAdapter(dict[str, tuple[_Count, _Count]])


class AgentHome:
    """One device's state in a folder of mode 0700."""

    def __init__(self, path: Path) -> None:
        """Create the folder if needed; raises StateDamaged when it cannot be made private."""
        try:
            self.path = private_directory(path)
        except OSError as error:
            raise StateDamaged(f"{path}: cannot be used as the agent's home ({error})") from error

    @property
    def ledger_folder(self) -> Path:
        return self.path / "ledger"

    @property
    def policy_path(self) -> Path:
        return self.path / "policy.toml"

    def lock(self) -> AbstractContextManager[None]:
        """Held by `agent run`; raises Busy when another process has it."""
        return exclusive_lock(self.path / "lock", held_by="agent run")

    # Keys

    def ensure_keys(self) -> None:
        """Make both keys on first use.

        Raises:
            StateDamaged: a device that has joined lost one of them. A new key would be another
                device, so it must be enrolled again, from an empty home.
        """
        identity, node = self.path / "identity.key", self.path / "node.key"
        if self.find_pinned() is None:
            failpoint(Failpoint.AGENT_KEYS_BEFORE)
            if not identity.exists():
                Identity.generate().save(identity)
            if not node.exists():
                private = ec.generate_private_key(ec.SECP256R1())
                pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
                write_secret(node, pem)
            failpoint(Failpoint.AGENT_KEYS_AFTER)
        self.identity()
        self.node_key()

    def identity(self) -> Identity:
        """Raises StateDamaged if it is absent, open to others or not the one that joined."""
        identity = Identity.load(self.path / "identity.key")
        pinned = self.find_pinned()
        if pinned is not None and pinned.agent_id != agent_id(identity.public):
            raise StateDamaged(f"{self.path / 'identity.key'}: not the key this agent joined with")
        return identity

    def node_key(self) -> ec.EllipticCurvePrivateKey:
        """The P-256 key of the transport; raises StateDamaged."""
        path = self.path / "node.key"
        try:
            key = load_pem_private_key(read_secret(path), None)
        except (ValueError, TypeError) as error:
            raise StateDamaged(f"{path}: not a readable private key") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(
            key.curve, ec.SECP256R1
        ):
            raise StateDamaged(f"{path}: not a P-256 key")
        return key

    def node_public_pem(self) -> bytes:
        """What was enrolled of the node key."""
        public = self.node_key().public_key()
        return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    # What was agreed at enrolment

    def find_pinned(self) -> Pinned | None:
        return self._read("pinned.json", Pinned)

    def pinned(self) -> Pinned:
        """Raises EnrollmentError when this home never joined."""
        pinned = self.find_pinned()
        if pinned is None:
            raise EnrollmentError(f"{self.path}: not enrolled yet; run: agent join TOKEN")
        return pinned

    def save_pinned(self, pinned: Pinned) -> None:
        self._write("pinned.json", pinned)

    def join_token(self) -> Token | None:
        """The token, from the first try to join until the device has its place on the roster."""
        path = self.path / "join.token"
        if not path.exists():
            return None
        try:
            return Token.decode(read_secret(path).decode("ascii"))
        except (EnrollmentError, UnicodeDecodeError) as error:
            raise StateDamaged(f"{path}: not the token this device began to join with") from error

    def save_join_token(self, token: Token) -> None:
        write_secret(self.path / "join.token", token.encode().encode("ascii"))

    def erase_join_token(self) -> None:
        path = self.path / "join.token"
        if path.exists():
            path.unlink()
            fsync_directory(self.path)

    # The owner's pause

    @property
    def paused(self) -> bool:
        """Whether the owner lets this device train nothing for the time being; read before each offer."""
        return (self.path / PAUSED).exists()

    def pause(self) -> None:
        """Works beside a running `agent run`; an attempt that has begun is not broken off."""
        write_atomic(self.path / PAUSED, b"agent resume ends this pause\n")

    def resume(self) -> None:
        (self.path / PAUSED).unlink(missing_ok=True)
        fsync_directory(self.path)

    # The roster

    def roster(self) -> SignedRoster | None:
        """The newest roster this device accepted, verified again; raises StateDamaged."""
        file = self._read("roster.json", _RosterFile)
        if file is None:
            return None
        try:
            return SignedRoster.open(file.body, file.signature, self.pinned().federation_public)
        except ProtocolError as error:
            raise StateDamaged(f"{self.path / 'roster.json'}: {error.message}") from error

    def accept_roster(self, body: bytes, signature: bytes, *, now: float) -> Roster:
        """Hold an offered roster against the device's rules and keep it if it is newer.

        One that leaves this device out is kept as well, so that no older one that still holds it
        can be shown again.

        Raises:
            ProtocolError: ROSTER_SIGNATURE, ROSTER_STALE, EQUIVOCATION (two rosters of one epoch),
                ROSTER_EXPIRED (a day of clock tolerance), NOT_MEMBER.
        """
        offered = SignedRoster.open(body, signature, self.pinned().federation_public)
        known = self.roster()
        check_newer(None if known is None else known.roster, offered.roster, now=now)
        if known is None or offered.roster.epoch > known.roster.epoch:
            self._write("roster.json", _RosterFile(body=body, signature=signature))
        public = self.identity().public
        if offered.roster.members.get(agent_id(public)) != public:
            raise ProtocolError(
                RefusalCode.NOT_MEMBER,
                f"roster epoch {offered.roster.epoch} does not hold this device",
            )
        return offered.roster

    # Counters

    def next_session(self) -> int:
        """Increment, fsync, return: one number per start of the agent, from 1."""
        session = self.last_session() + 1
        self._write("session.json", _SessionFile(session=session))
        return session

    def last_session(self) -> int:
        """How often this agent was started so far."""
        file = self._read("session.json", _SessionFile)
        return 0 if file is None else file.session

    def last_attempt(self, run_id: str) -> Attempt | None:
        """The newest attempt of that run this device took part in."""
        last = self._rounds().get(run_id)
        return None if last is None else Attempt(run_id, *last)

    def last_attempts(self) -> dict[str, Attempt]:
        """The same of every run that is remembered; a witness of what the ledger must have charged."""
        return {run: Attempt(run, *last) for run, last in self._rounds().items()}

    def advance(self, attempt: Attempt) -> None:
        """Remember `attempt` before anything of it is answered.

        Raises:
            ProtocolError: ROUND_REPLAY unless (round, attempt) is above all earlier ones of its run.
        """
        rounds = self._rounds()
        last, offered = rounds.get(attempt.run_id, (0, 0)), (attempt.round, attempt.attempt)
        if offered <= last:
            raise ProtocolError(
                RefusalCode.ROUND_REPLAY,
                f"{attempt}: this device has already been at round {last[0]} attempt {last[1]}",
            )
        rounds.pop(attempt.run_id, None)  # the newest last
        rounds[attempt.run_id] = offered
        for oldest in list(rounds)[:-MOST_RUNS]:
            del rounds[oldest]  # the ledger goes on refusing what it has charged
        data = json.dumps(rounds, separators=(",", ":")).encode("ascii")
        write_atomic(self.path / "rounds.json", data)

    def _rounds(self) -> dict[str, tuple[int, int]]:
        path = self.path / "rounds.json"
        if not path.exists():
            return {}
        try:
            return _ROUNDS.validate_json(read_secret(path, most=MAX_STATE))
        except ValidationError as error:
            raise _damaged(path) from error

    def _read(self, name: str, model: type[_Model]) -> _Model | None:
        path = self.path / name
        if not path.exists():
            return None
        try:
            return model.model_validate_json(read_secret(path, most=MAX_STATE))
        except ValidationError as error:
            raise _damaged(path) from error

    def _write(self, name: str, value: BaseModel) -> None:
        write_atomic(self.path / name, value.model_dump_json().encode("ascii"))


def _damaged(path: Path) -> StateDamaged:
    return StateDamaged(
        f"{path}: damaged; do not delete it, it keeps this device from answering twice. "
        "Revoke the device and enrol it again from an empty home"
    )
