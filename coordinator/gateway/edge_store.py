"""The objects of messages on their way, in memory, addressed by content (docs/transport.md).

The gateway reads and fills it for the agents, the driver for itself; SuperLink never sees tensor
bytes. An object lives as long as a message that has it in its tree: `hold` and `expect` add a
message, `release`, `take` and `clear` end it. Safe for use from several threads.
"""

import hashlib
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


class Refused(Exception):
    """The object may not be read or stored; `reason` is `object` or `oversize`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(slots=True)
class _Entry:
    content: bytes | None = None
    holders: set[str] = field(default_factory=set)  # message ids


@dataclass(slots=True)
class _Upload:
    """A reply that an agent is sending: which objects are still missing, how many bytes may come."""

    agent_id: bytes
    message_id: str
    objects: frozenset[str]
    missing: set[str]
    bytes_left: int


class EdgeStore:
    """Invariant: an entry exists exactly while at least one message holds it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}
        self._held: dict[str, frozenset[str]] = {}  # message id → its objects
        self._grants: dict[bytes, dict[str, frozenset[str]]] = {}  # agent → delivered messages
        self._uploads: dict[str, _Upload] = {}  # push session → upload

    @property
    def bytes_held(self) -> int:
        with self._lock:
            return sum(len(entry.content or b"") for entry in self._entries.values())

    def hold(self, message_id: str, object_ids: Iterable[str]) -> frozenset[str]:
        """Keep a message the driver sends; the objects whose content has to be given to `fill`."""
        with self._lock:
            self._attach(message_id, frozenset(object_ids))
            return frozenset(name for name in self._held[message_id] if not self._has(name))

    def fill(self, contents: Mapping[str, bytes]) -> None:
        """Give the content of held objects; of others it is not kept."""
        with self._lock:
            for name, content in contents.items():
                if name in self._entries:
                    self._entries[name].content = content

    def grant(self, agent_id: bytes, message_id: str, object_ids: Iterable[str]) -> None:
        """From now on `agent_id` may read the objects of this message, which it was given."""
        with self._lock:
            self._grants.setdefault(agent_id, {})[message_id] = frozenset(object_ids)

    def granted(self, agent_id: bytes, object_id: str) -> bool:
        with self._lock:
            return any(object_id in names for names in self._grants.get(agent_id, {}).values())

    def read(self, agent_id: bytes, object_id: str) -> bytes | None:
        """The content, or None if it has been freed; raises Refused("object") without a grant."""
        if not self.granted(agent_id, object_id):
            raise Refused("object")
        with self._lock:
            entry = self._entries.get(object_id)
            return None if entry is None else entry.content

    def expect(
        self,
        agent_id: bytes,
        session_id: str,
        message_id: str,
        object_ids: Iterable[str],
        missing: Iterable[str],
        *,
        most_bytes: int,
    ) -> bool:
        """Await an upload of at most `most_bytes`; True if nothing is missing.

        `missing` lists what has to come even if another agent sent the same content, so that a
        known id never stands in for the content.

        Raises:
            Refused: `object`, when the message id belongs to another agent or to the driver.
        """
        objects = frozenset(object_ids)
        with self._lock:
            known = self._upload_of(message_id)
            if known is None:
                if message_id in self._held:
                    raise Refused("object")
                known = _Upload(agent_id, message_id, objects, set(missing) & objects, most_bytes)
                self._attach(message_id, objects)
            elif known.agent_id != agent_id or known.objects != objects:
                raise Refused("object")
            self._uploads[session_id] = known  # a repeated announcement continues the same upload
            return not known.missing

    def accept(
        self, agent_id: bytes, session_id: str, object_id: str, content: bytes
    ) -> str | None:
        """Store one object of an upload; the message id if this completed it.

        Raises:
            Refused: `object` (not awaited from this agent, or the id is not its SHA-256), `oversize`.
        """
        if hashlib.sha256(content).hexdigest() != object_id:
            raise Refused("object")
        with self._lock:
            upload = self._awaited(agent_id, session_id, object_id, len(content))
            if upload is None:
                return None  # sent again after a lost answer
            upload.bytes_left -= len(content)
            upload.missing.discard(object_id)
            self._entries[object_id].content = content
            return None if upload.missing else upload.message_id

    def confirm(self, agent_id: bytes, message_id: str) -> None:
        """The agent has the whole message: its grant ends, unheld objects are freed."""
        with self._lock:
            self._grants.get(agent_id, {}).pop(message_id, None)
            self._detach(message_id)

    def release(self, message_id: str) -> None:
        with self._lock:
            self._detach(message_id)

    def take(self, message_id: str) -> dict[str, bytes] | None:
        """Remove a complete reply and return its objects; None if it is not here in full."""
        with self._lock:
            names = self._held.get(message_id)
            if names is None or not all(self._has(name) for name in names):
                return None
            contents = {name: self._entries[name].content or b"" for name in names}
            self._detach(message_id)
            return contents

    def forget_agent(self, agent_id: bytes) -> None:
        """The agent started anew or is gone: end its grants and unfinished uploads."""
        with self._lock:
            self._grants.pop(agent_id, None)
            ended = [key for key, value in self._uploads.items() if value.agent_id == agent_id]
            for session_id in ended:
                upload = self._uploads.pop(session_id)
                if upload.missing:
                    self._detach(upload.message_id)

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()
            self._held.clear()
            self._grants.clear()
            self._uploads.clear()

    def _awaited(
        self, agent_id: bytes, session_id: str, object_id: str, size: int
    ) -> _Upload | None:
        upload = self._uploads.get(session_id)
        if upload is None or upload.agent_id != agent_id or object_id not in upload.objects:
            raise Refused("object")
        if object_id not in upload.missing:
            return None
        if size > upload.bytes_left:
            raise Refused("oversize")
        return upload

    def _upload_of(self, message_id: str) -> _Upload | None:
        for upload in self._uploads.values():
            if upload.message_id == message_id:
                return upload
        return None

    def _has(self, name: str) -> bool:
        entry = self._entries.get(name)
        return entry is not None and entry.content is not None

    def _attach(self, message_id: str, names: frozenset[str]) -> None:
        self._held[message_id] = names
        for name in names:
            self._entries.setdefault(name, _Entry()).holders.add(message_id)

    def _detach(self, message_id: str) -> None:
        for name in self._held.pop(message_id, frozenset()):
            entry = self._entries[name]
            entry.holders.discard(message_id)
            if not entry.holders:
                del self._entries[name]
        ended = [key for key, value in self._uploads.items() if value.message_id == message_id]
        for session_id in ended:
            del self._uploads[session_id]
