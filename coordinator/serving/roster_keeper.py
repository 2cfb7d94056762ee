"""Who belongs, while `coordinator serve` runs: roster and revocations, told to gateway and SuperLink.

Handlers of the admin and gateway threads change it; the main thread registers members with SuperLink.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edgeveil.coordinator.federation.enrollment import JoinDesk
from edgeveil.coordinator.federation.membership import candidate_of, change_in, import_into
from edgeveil.coordinator.federation.roster_files import is_due
from edgeveil.coordinator.gateway.server import Gateway
from edgeveil.coordinator.machine.transport import Member
from edgeveil.coordinator.plan.config import CoordinatorConfig
from edgeveil.coordinator.serving.signer import WAIT_S
from edgeveil.coordinator.store.store import Store
from edgeveil.shared.base.failpoints import Failpoint, failpoint
from edgeveil.shared.events.log import Event, EventLog


@dataclass(eq=False)
class RosterKeeper:
    """`lock` is held from reading or changing the roster to telling the gateway, so that no older list
    overtakes a newer one and nobody is told of a membership the gateway does not know yet.

    `changed` is set when SuperLink has to be told; `names` holds everybody who ever joined.
    """

    store: Store
    config: CoordinatorConfig
    desk: JoinDesk
    events: EventLog
    wake: Callable[[], None]

    def __post_init__(self) -> None:
        self.names: dict[bytes, str] = {}
        self.lock = threading.RLock()
        self.changed = threading.Event()
        self._due = threading.Event()  # somebody joined, was approved or revoked
        self._closed = False

    def apply(self, gateway: Gateway) -> None:
        """Tell the gateway who may connect, and who is to hear that it was revoked."""
        with self.lock:
            everybody = self.store.agents(include_revoked=True)
            self.names.update({agent.agent_id: agent.name for agent in everybody})
            revoked = frozenset(a.node_public for a in everybody if a.revoked is not None)
            failpoint(Failpoint.COORDINATOR_ROSTER_BEFORE)
            gateway.set_members(self.members(), revoked)
            failpoint(Failpoint.COORDINATOR_ROSTER_AFTER)

    def members(self) -> list[Member]:
        """Who may connect, read now; nobody connects whose name is not known."""
        agents = self.store.members()
        self.names.update({agent.agent_id: agent.name for agent in agents})
        return [
            Member(agent.agent_id, agent.name, agent.identity_public, agent.node_public)
            for agent in agents
        ]

    def close(self) -> None:
        """End the signer's held request."""
        self._closed = True
        self._due.set()

    def join(self, body: bytes, address: str) -> tuple[int, dict[str, object]]:
        """Answer one `/v1/join`."""
        with self.lock:
            status, answer = self.desk.handle(body, address)
        if answer.get("state") == "pending":
            self._due.set()
        return status, answer

    def export(self, asked: dict[str, Any]) -> dict[str, Any]:
        return dict(candidate_of(self.store, self.config, asked.get("epoch")))

    def take(self, asked: dict[str, Any], gateway: Gateway) -> dict[str, Any]:
        """A signed roster comes into force."""
        with self.lock:
            epoch = import_into(self.store, self.config, asked["signed"].encode())
            self.apply(gateway)
        self.events.emit(Event.ROSTER_IMPORT, sync=True)
        self.changed.set()
        self.wake()
        return {"epoch": epoch}

    def change(self, asked: dict[str, Any], gateway: Gateway) -> dict[str, Any]:
        """A revoked agent is cut off before the operator's command returns."""
        with self.lock:
            change_in(self.store, self.events, asked["change"], asked["names"], asked["new"])
            self.apply(gateway)
        self.changed.set()
        self._due.set()
        return {}

    def wanted(self, asked: dict[str, Any]) -> dict[str, Any]:
        """The next roster once it is due, or null after `wait_s` seconds; for the signer."""
        self._due.wait(min(float(asked["wait_s"]), WAIT_S))
        self._due.clear()
        if self._closed or not is_due(self.store):
            return {"candidate": None}
        return dict(candidate_of(self.store, self.config))
