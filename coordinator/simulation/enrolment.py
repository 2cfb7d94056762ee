"""Simulated devices become members as real ones do, but for the network: tokens, the join desk, a signed roster."""

import json
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeveil.coordinator.federation import roster_files
from edgeveil.coordinator.federation.enrollment import JoinDesk
from edgeveil.coordinator.federation.membership import keys_of, tokens_of
from edgeveil.coordinator.plan.config import CoordinatorConfig
from edgeveil.coordinator.plan.plan import Plan
from edgeveil.coordinator.simulation import records
from edgeveil.coordinator.simulation.settings import ENROLLED, Simulation
from edgeveil.coordinator.simulation.transport import SimulatedTransport
from edgeveil.coordinator.store.store import Store
from edgeveil.shared.base.clock import SystemClock
from edgeveil.shared.base.errors import RunFailed
from edgeveil.shared.base.files import write_atomic
from edgeveil.shared.terminal.progress import progress

FEDERATION = "federation"
AT_ONCE = 100  # devices between two steps of the bar
LEAST_EPSILON, MOST_EPSILON = 8.0, 50.0  # what an owner who says nothing allows; what one may


def device_homes(home: Path, simulation: Simulation) -> list[Path]:
    return [home / "agents" / name for name in names_of(simulation)]


def names_of(simulation: Simulation) -> list[str]:
    return [f"device-{number}" for number in range(1, simulation.agents + 1)]


def owners_policy(plan: Plan, coordinator_public: bytes) -> dict[str, Any]:
    """policy.toml of owners who agree to what a plan has to be agreed to; everything else is their default."""
    training, secagg, shared = plan.training, plan.secagg, plan.privacy
    epsilon = MOST_EPSILON if plan.evaluation.on_devices else training.epsilon or LEAST_EPSILON
    values: dict[str, Any] = {
        "epsilon_max": max(LEAST_EPSILON, epsilon),
        "delta": training.delta,
        "secagg": {
            "n_min": secagg.n_min,
            "c_min": secagg.c_min,
            "gamma_ppm": secagg.gamma_ppm,
            "sigma": secagg.sigma,
            "allow_two": secagg.n_min == 2,
        },
    }
    if not training.noised:
        values |= {"dp_required": False, "without_noise_for": [coordinator_public.hex()]}
    if shared.epsilon_sum is not None:
        values["shared_noise"] = {
            "epsilon_sum_max": shared.epsilon_sum,
            "federation_key": "offline",
        }
    if plan.evaluation.on_devices:
        values["evaluation_share"] = records.HELD_OUT_SHARE
    return values


@dataclass(frozen=True)
class Fleet:
    """The devices of one simulation, and the coordinator that they belong to."""

    home: Path
    config: CoordinatorConfig
    store: Store
    simulation: Simulation
    plan: Plan


def enrol(
    fleet: Fleet, transport: SimulatedTransport, stop: threading.Event, *, quiet: bool
) -> None:
    """Every device has its home, its keys and its place on the roster, and has started.

    What was enrolled only in part before a crash is undone, and begun anew.

    Raises:
        RunFailed: a device cannot start; the sentence names it and says why.
    """
    home, simulation = fleet.home, fleet.simulation
    if (home / ENROLLED).exists():
        asked = {seat: {"ask": "start"} for seat in range(simulation.agents)}
        _each(transport, asked, "devices start", stop, quiet=quiet)
    else:
        _begin(fleet, transport, stop, quiet=quiet)
        write_atomic(home / ENROLLED, json.dumps(names_of(simulation)).encode())
    ids = {agent.name: agent.agent_id for agent in fleet.store.agents()}
    transport.seat([ids[name] for name in names_of(simulation)])


def _begin(
    fleet: Fleet, transport: SimulatedTransport, stop: threading.Event, *, quiet: bool
) -> None:
    home, store, simulation = fleet.home, fleet.store, fleet.simulation
    for agent in store.agents():
        store.revoke(agent.name)
    shutil.rmtree(home / "agents", ignore_errors=True)
    names, keys = names_of(simulation), keys_of(home, fleet.config)
    tokens = tokens_of(store, home, fleet.config, names, 86_400.0, hold=False)
    policy = owners_policy(fleet.plan, keys.coordinator)
    whole = str(records.all_records(home, simulation).absolute())
    asked = {
        seat: {
            "ask": "join",
            "token": tokens[name],
            "policy": policy,
            "secagg": simulation.secagg,
            "data": str(records.device_folder(home, seat + 1)),
            "all": whole,
        }
        for seat, name in enumerate(names)
    }
    joined = _each(transport, asked, "devices join", stop, quiet=quiet)
    desk = JoinDesk(store, keys)
    requests = [str(joined[seat]["request"]).encode() for seat in range(len(names))]
    for name, request in zip(names, requests, strict=True):
        _ask(desk, name, request)
    _sign(home, fleet.config, store)
    members = {
        seat: {"ask": "member", "answer": _ask(desk, name, request)}
        for seat, (name, request) in enumerate(zip(names, requests, strict=True))
    }
    _each(transport, members, "devices start", stop, quiet=quiet)


def _each(
    transport: SimulatedTransport,
    asked: dict[int, dict[str, Any]],
    what: str,
    stop: threading.Event,
    *,
    quiet: bool,
) -> dict[int, dict[str, Any]]:
    told: dict[int, dict[str, Any]] = {}
    seats = sorted(asked)
    with progress(what, len(seats), quiet=quiet) as step:
        for start in range(0, len(seats), AT_ONCE):
            some = {seat: asked[seat] for seat in seats[start : start + AT_ONCE]}
            told |= transport.manage(some, stop)
            step(len(some))
    return told


def _ask(desk: JoinDesk, name: str, request: bytes) -> dict[str, object]:
    status, answer = desk.handle(request, name)
    if status != 200:
        raise RunFailed(f"{name} could not join the simulation: {answer.get('detail')}")
    return answer


def _sign(home: Path, config: CoordinatorConfig, store: Store) -> None:
    public = bytes.fromhex(config.federation_public)
    key = roster_files.open_federation_key(home / FEDERATION, lambda: b"")
    candidate = roster_files.export_roster(store, public, clock=SystemClock())
    roster_files.import_roster(store, roster_files.sign_roster(candidate, key), public)
