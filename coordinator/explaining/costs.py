"""Seconds and memory of one round, from bytes, bandwidth and the measured units."""

import math

from pydantic import ConfigDict

from edgeveil.coordinator.explaining import units
from edgeveil.coordinator.explaining.traffic import Traffic
from edgeveil.shared.base.config import Settings
from edgeveil.shared.secagg.primitives.parameters import Solution
from edgeveil.shared.wire.plan import TrainingPlan


class Costs(Settings):
    """Without training itself, which depends on model and device. The coordinator's CPU is that of one core."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)

    agent_network_s: float
    coordinator_network_s: float
    agent_cpu_s: float
    coordinator_cpu_s: float
    seconds: float
    agent_memory: float
    coordinator_memory: float


def costs(  # noqa: PLR0917 - what a round is made of
    moved: Traffic,
    solution: Solution,
    members: int,
    agents: int,
    parameters: int,
    proposal: TrainingPlan,
    dropout: float,
    bandwidth: float,
) -> Costs:
    """`seconds`: network and CPU one after the other, on the slower link, with everybody at once."""
    per_s = bandwidth * 1e6 / 8
    agent_network = (moved.down + moved.up) / per_s
    server_network = agents * agent_network
    agent_cpu = _agent(solution, members, parameters, proposal)
    server_cpu = _server(solution, agents, parameters, dropout)
    return Costs(
        agent_network_s=agent_network,
        coordinator_network_s=server_network,
        agent_cpu_s=agent_cpu,
        coordinator_cpu_s=server_cpu,
        seconds=server_network + agent_cpu + server_cpu,
        agent_memory=units.AGENT_MEMORY.value + units.AGENT_PARAMETER.value * parameters,
        coordinator_memory=units.SERVER_MEMORY.value
        + agents * (units.SERVER_AGENT.value + units.SERVER_UPLOAD.value * parameters),
    )


def _agent(solution: Solution, members: int, parameters: int, proposal: TrainingPlan) -> float:
    noise = units.AGENT_NOISE.value * parameters * proposal.steps if proposal.noised else 0.0
    return (
        noise
        + units.AGENT_TRANSPORT.value
        + units.AGENT_MASK.value * (solution.k + 1) * parameters
        + units.AGENT_NEIGHBOUR.value * solution.k
        + units.AGENT_MEMBER.value * members
    )


def _server(solution: Solution, agents: int, parameters: int, dropout: float) -> float:
    lost = math.floor(agents * dropout)
    recovered = lost * solution.k * (1 - dropout)
    return (
        agents * (units.SERVER_TRANSPORT.value + units.SERVER_MEMBER.value)
        + units.SERVER_NEIGHBOUR.value * agents * solution.k
        + units.SERVER_LANE.value * (agents - lost) * parameters
        + (units.SERVER_RECOVERY.value + units.SERVER_MASK.value * parameters) * recovered
    )
