"""Judging one round offer before anything is charged: signatures, roster, model, plan, policy.

Order follows docs/protocol.md, "M1 round". Everything in the offer is hostile until it passed here;
what comes out is what this device itself recomputed.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgeveil.agent.home.home import AgentHome, Pinned
from edgeveil.agent.home.policy import Policy
from edgeveil.agent.ledger.guard import Proposal
from edgeveil.shared.base.errors import Blame, ConfigError, ProtocolError, RefusalCode
from edgeveil.shared.secagg.agreement import context
from edgeveil.shared.secagg.primitives.canonical import Malformed
from edgeveil.shared.secagg.primitives.parameters import SIGNED, UNSIGNED, Params
from edgeveil.shared.tasks import registry
from edgeveil.shared.tasks.spec import Options, Task, TaskSpec
from edgeveil.shared.vector.model_vector import check_vector, model_hash
from edgeveil.shared.wire.identity import verify
from edgeveil.shared.wire.messages import VERSIONS, Request, RoundOffer, Tensor
from edgeveil.shared.wire.plan import TrainingPlan
from edgeveil.shared.wire.roster import Roster


@dataclass(frozen=True)
class CheckedOffer:
    """An offer whose every part was verified or recomputed here. `model` is float32 (d,)."""

    proposal: Proposal
    task: Task
    options: Options
    tensors: tuple[Tensor, ...]
    model: NDArray[np.float32] = field(repr=False)
    variate: NDArray[np.float32] | None = field(repr=False)  # like the model, if the plan has one
    params: Params
    roster: Roster
    ctx: bytes
    ledger_echo: bytes
    version: int  # of the protocol, the newest both sides speak


def check_offer(
    request: Request,
    *,
    home: AgentHome,
    pinned: Pinned,
    policy: Policy,
    dataset_id: str,
    now: float,
    load_task: Callable[[TaskSpec], Task] = registry.load,
) -> CheckedOffer:
    """Open and judge `request`; changes nothing but the stored roster, which only ever gets newer.

    Raises:
        ProtocolError: with the code of the first rule that failed.
        shared.secagg.primitives.errors.Refused: parameters below this device's floors.
    """
    offer = RoundOffer.decode(request.body)
    roster = home.accept_roster(offer.roster_body, offer.roster_signature, now=now)
    params, plan = _parameters(offer, policy)
    task = load_task(spec := _task(offer))
    options = _options(task, plan)
    model, variate = _vectors(_bulk(request, offer, task, options), offer.tensors, params, plan)
    hashed = model_hash(model, offer.tensors, variate)
    ctx = context.context(
        federation_id=roster.federation_id,
        run_id=request.attempt.run_id,
        round_number=request.attempt.round,
        attempt=request.attempt.attempt,
        shard=offer.shard,
        task_hash=spec.task_hash(),
        model_hash=hashed,
        config_hash=context.config_hash(offer.params, offer.plan_json),
        roster_hash=roster.hash(),
    )
    verify(
        pinned.coordinator_public,
        offer.open_signature,
        context.open_message(ctx),
        code=RefusalCode.CTX_MISMATCH,
        who="the coordinator over this attempt's context",
    )
    proposal = Proposal(
        coordinator_id=pinned.coordinator_public,
        task_id=spec.id,
        task_version=spec.version,
        task_hash=spec.task_hash(),
        model_hash=hashed,
        plan=plan,
        plan_json=offer.plan_json,
        attempt=request.attempt,
        dataset_id=dataset_id,
    )
    return CheckedOffer(
        proposal,
        task,
        options,
        offer.tensors,
        model,
        variate,
        params,
        roster,
        ctx,
        offer.ledger_echo,
        VERSIONS.agree(offer.versions),
    )


def _parameters(offer: RoundOffer, policy: Policy) -> tuple[Params, TrainingPlan]:
    try:
        params = Params.decode(offer.params)
    except Malformed as error:
        raise ProtocolError(
            RefusalCode.MALFORMED, f"secure-aggregation parameters: {error}"
        ) from error
    policy.client_policy().check(params)
    params.check_overflow()
    return params, TrainingPlan.from_json(offer.plan_json)


def _task(offer: RoundOffer) -> TaskSpec:
    """The installed task of that id, version and hash; never code from the network."""
    spec = registry.find(offer.task_id, offer.task_version)
    if spec.code_hash() != offer.code_hash:
        raise ProtocolError(
            RefusalCode.TASK_UNKNOWN,
            f"task {spec.id} {spec.version} is installed here with other code than the coordinator's; "
            "install the same edgeveil version on both",
        )
    return spec


def _options(task: Task, plan: TrainingPlan) -> Options:
    try:
        return task.parse_options(plan.options)
    except ConfigError as error:
        raise ProtocolError(
            RefusalCode.TASK_UNKNOWN, f"task options: {error}", blame=Blame.PEER
        ) from error


def _bulk(request: Request, offer: RoundOffer, task: Task, options: Options) -> memoryview:
    """The bytes of the global model, whose shape must be that of this device's own task."""
    if offer.tensors != task.tensors(options):
        raise ProtocolError(
            RefusalCode.MODEL_INVALID, "the model's tensors are not those of the installed task"
        )
    if request.bulk is None:
        raise ProtocolError(RefusalCode.MODEL_INVALID, "the offer came without a model")
    return memoryview(request.bulk).cast("B")


def _vectors(
    bulk: memoryview, tensors: tuple[Tensor, ...], params: Params, plan: TrainingPlan
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """The global model, and the global control variate if the plan has one; each (d,)."""
    half = bulk.nbytes // 2 if plan.control_variates else bulk.nbytes
    model = check_vector(bulk[:half], tensors)
    _check_vector_layout(params, model.size)
    if not plan.control_variates:
        return model, None
    variate = check_vector(bulk[half:], tensors)
    _check_within_reach(variate, params)
    return model, variate


def _check_within_reach(variate: NDArray[np.float32], params: Params) -> None:
    """A global control variate is a mean of updates, so no place of it lies beyond one's reach."""
    values = params.segments[1]
    most = values.bound * values.step * (1 + 1e-6)  # rounded to float32 on its way
    if float(np.abs(variate).max()) > most:
        raise ProtocolError(
            RefusalCode.MODEL_INVALID, "the control variate lies beyond the reach of any update"
        )


def _check_vector_layout(params: Params, parameters: int) -> None:
    """Exactly one weight lane of at most 1 and one signed lane per parameter; no place for anything else."""
    layout = [(item.name, item.kind, item.count, item.limbs) for item in params.segments]
    expected = [("weight", UNSIGNED, 1, 1), ("params", SIGNED, parameters, 1)]
    if layout != expected or params.segments[0].bound != 1:
        raise ProtocolError(
            RefusalCode.POLICY_VECTOR, f"the vector must be {expected}, the offer has {layout}"
        )
