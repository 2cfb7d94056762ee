"""`coordinator agents …`: approve, revoke, rename, list; through the admin socket while `serve` runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from coordinator.admin_client import call
from coordinator.config import load_config
from coordinator.records import EnrolledAgent
from coordinator.store import Store
from coordinator.transport import Presence
from shared.errors import ConfigError
from shared.event_log import Event, EventLog
from shared.names import check_name

CHANGES = {
    "approve": Event.AGENT_APPROVE,
    "revoke": Event.AGENT_REVOKE,
    "rename": Event.AGENT_RENAME,
}


def list_agents(home: Path) -> list[dict[str, Any]]:
    """Everybody who ever joined, by name; the running coordinator also knows who is connected."""
    load_config(home)
    answer = call(home, "agents")
    if answer is None:
        with Store.open(home, read_only=True) as store:
            return agents_of(store, {})
    agents: list[dict[str, Any]] = answer["agents"]
    return agents


def agents_of(store: Store, presence: Mapping[bytes, Presence]) -> list[dict[str, Any]]:
    """State: held (awaits approval), pending (awaits a roster), offline, connected, revoked.

    `last_seen`: by the running process; else the end of the newest attempt with its update, or when it joined.
    """
    heard = store.last_answers()
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
            }
        )
    return agents


def change_agents(home: Path, change: str, names: Sequence[str], new: str = "") -> None:
    """Carry out one of CHANGES on these agents, all or none; `new` is the name of `rename`.

    Raises:
        ConfigError: an unknown or bad name.
        EnrollmentError: the new name is taken.
    """
    load_config(home)
    names = list(dict.fromkeys(names))
    if call(home, "agents-change", change=change, names=names, new=new) is not None:
        return
    with Store.open(home) as store, EventLog(home / "events.jsonl") as events:
        change_in(store, events, change, names, new)


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
