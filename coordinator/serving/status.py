"""How the coordinator stands, as far as the database alone knows; the running process adds to it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeveil.coordinator.federation.membership import agents_of
from edgeveil.coordinator.federation.tls import tls_folder
from edgeveil.coordinator.machine.transport import Presence
from edgeveil.coordinator.plan.config import CoordinatorConfig
from edgeveil.coordinator.plan.plan import Plan
from edgeveil.coordinator.store.store import Store


def status_of(
    store: Store, home: Path, config: CoordinatorConfig, presence: Mapping[bytes, Presence]
) -> dict[str, Any]:
    """Fields that do not depend on a running process, and agents as the gateway sees them."""
    shown = ("name", "state", "last_seen")
    agents = [{key: agent[key] for key in shown} for agent in agents_of(store, presence)]
    return {
        "url": config.url,
        "ca_file": str(config.authority or tls_folder(home) / "ca.pem"),
        **dict.fromkeys(("pid", "superlink_pid", "run", "round", "stage")),
        "last_run": last_run_of(store),
        "agents": agents,
    }


def last_run_of(store: Store) -> dict[str, Any] | None:
    """The newest run and how far it came."""
    run = store.last_run()
    if run is None:
        return None
    return {
        "run": run.run_id,
        "state": str(run.state),
        "reason": run.reason,
        "committed": store.count_rounds(run.run_id).get("committed", 0),
        "rounds": Plan.model_validate_json(run.plan).rounds.count,
    }
