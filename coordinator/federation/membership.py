"""Who belongs, on an open database: what `serve` answers and what the commands do when none runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeveil.coordinator.federation.roster_files import key_beside
from edgeveil.coordinator.machine.transport import Presence
from edgeveil.coordinator.plan.config import CoordinatorConfig, identity_path
from edgeveil.coordinator.records.records import EnrolledAgent
from edgeveil.coordinator.store.store import Store
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.base.names import check_name
from edgeveil.shared.events.log import Event, EventLog
from edgeveil.shared.wire.identity import Identity
from edgeveil.shared.wire.join import Keys

CHANGES = {
    "approve": Event.AGENT_APPROVE,
    "revoke": Event.AGENT_REVOKE,
    "rename": Event.AGENT_RENAME,
}


def agents_of(store: Store, presence: Mapping[bytes, Presence]) -> list[dict[str, Any]]:
    """State: held (awaits approval), pending (awaits a roster), offline, connected, revoked.

    `size` is the declared number of records (n_ref), by the device's word, None before it was heard.
    `last_seen`: by the running process; else the end of the newest attempt with its update, or when it joined.
    """
    heard, sizes = store.last_answers(), store.declared_sizes()
    members = {agent.agent_id for agent in store.members()}
    agents = []
    for agent in sorted(store.agents(include_revoked=True), key=lambda item: item.name):
        seen = presence.get(agent.agent_id)
        agents.append(
            {
                "name": agent.name,
                "state": _state(agent, seen, on_roster=agent.agent_id in members),
                "agent_id": agent.agent_id.hex(),
                "identity_key": agent.identity_public.hex(),
                "joined": agent.joined,
                "revoked": agent.revoked,
                "last_seen": _last_seen(agent, seen, heard),
                "condition": _condition(seen),
                "size": sizes.get(agent.name),
            }
        )
    return agents


def change_in(
    store: Store, events: EventLog, change: str, names: Sequence[str], new: str = ""
) -> list[EnrolledAgent]:
    """As change_agents(), on an open database; the agents as they are now."""
    event = CHANGES[change]
    known = {agent.name for agent in store.agents()}
    for name in names:
        if check_name(name, "the agent name") not in known:
            raise ConfigError(f"no agent named {name!r} is enrolled; see: coordinator agents")
    if change == "rename":
        changed = [store.rename(names[0], check_name(new, "the new name"))]
    else:
        changed = [(store.approve if change == "approve" else store.revoke)(name) for name in names]
    for name in names:
        events.emit(event, agent=name, sync=True)
    return changed


def _last_seen(agent: EnrolledAgent, seen: Presence | None, heard: Mapping[str, float]) -> float:
    if seen is not None and seen.last_seen is not None:
        return seen.last_seen
    return max(agent.joined, heard.get(agent.name, 0.0))


def _condition(seen: Presence | None) -> dict[str, bool | None] | None:
    """What a connected device tells of its power and load; None when it tells nothing."""
    told = seen.condition if seen is not None and seen.connected else None
    return None if told is None else told.model_dump()


def _state(agent: EnrolledAgent, seen: Presence | None, *, on_roster: bool) -> str:
    if agent.revoked is not None:
        return "revoked"
    if seen is not None and seen.connected:
        return "connected"
    if on_roster:
        return "offline"
    return "held" if agent.held else "pending"


def tokens_of(
    store: Store,
    home: Path,
    config: CoordinatorConfig,
    names: Sequence[str],
    ttl_s: float,
    *,
    hold: bool,
) -> dict[str, str]:
    # Only for invitations.
    from edgeveil.coordinator.federation.enrollment import create_invites  # noqa: PLC0415
    from edgeveil.coordinator.federation.tls import authority_fingerprint  # noqa: PLC0415

    tokens = create_invites(
        store,
        list(names),
        ttl_s=float(ttl_s),
        url=config.url,
        authority=authority_fingerprint(home, config),
        keys=keys_of(home, config),
        hold=hold,
        offline=key_beside(home, config) is None,
    )
    return {token.name: token.encode() for token in tokens}


def keys_of(home: Path, config: CoordinatorConfig) -> Keys:
    """The public keys that joining devices pin."""
    coordinator = Identity.load(identity_path(home)).public
    return Keys(coordinator, bytes.fromhex(config.federation_public))


def candidate_of(
    store: Store, config: CoordinatorConfig, epoch: int | None = None
) -> dict[str, str]:
    from edgeveil.coordinator.federation.roster_files import export_roster  # noqa: PLC0415

    public = bytes.fromhex(config.federation_public)
    return {"candidate": export_roster(store, public, epoch=epoch).decode()}


def import_into(store: Store, config: CoordinatorConfig, signed: bytes) -> int:
    from edgeveil.coordinator.federation.roster_files import import_roster  # noqa: PLC0415

    return import_roster(store, signed, bytes.fromhex(config.federation_public)).roster.epoch
