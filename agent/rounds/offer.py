"""Judging one round offer before anything is charged: signatures, roster, model, plan, policy.

A preflight's question is an offer without a model, and what it holds is judged by the same code.

Order follows docs/protocol.md, "M1 round". Everything in the offer is hostile until it passed here;
what comes out is what this device itself recomputed.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgeveil.agent.home.home import AgentHome, Pinned
from edgeveil.agent.home.policy import Policy
from edgeveil.agent.ledger.guard import Question, check_own_task
from edgeveil.shared.base.errors import Blame, ConfigError, ProtocolError, RefusalCode
from edgeveil.shared.secagg.agreement import context
from edgeveil.shared.secagg.primitives.canonical import Malformed
from edgeveil.shared.secagg.primitives.parameters import SIGNED, UNSIGNED, Params
from edgeveil.shared.tasks import registry
from edgeveil.shared.tasks.spec import Options, Task, TaskSpec
from edgeveil.shared.vector.model_vector import Frozen, check_vector, model_hash
from edgeveil.shared.wire.identity import verify
from edgeveil.shared.wire.messages import (
    VERSIONS,
    Attempt,
    PreflightQuestion,
    Request,
    RoundOffer,
    Tensor,
)
from edgeveil.shared.wire.plan import AnyPlan, EvaluationPlan, read_plan
from edgeveil.shared.wire.roster import Roster

Asked = RoundOffer | PreflightQuestion


@dataclass(frozen=True)
class CheckedPlan:
    """What an offer and a preflight's question have in common, verified or recomputed here."""

    question: Question
    task: Task
    options: Options
    params: Params


@dataclass(frozen=True)
class CheckedOffer(CheckedPlan):
    """An offer whose every part was verified or recomputed here. `model` is float32 (d,)."""

    tensors: tuple[Tensor, ...]
    model: NDArray[np.float32] = field(repr=False)
    variate: NDArray[np.float32] | None = field(repr=False)  # like the model, if the plan has one
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
    received = _Received(request, RoundOffer.decode(request.body))
    offer = received.offer
    roster = home.accept_roster(offer.roster_body, offer.roster_signature, now=now)
    params, plan = _parameters(offer, policy)
    spec, task = _loaded(offer, policy, load_task)
    options = _options(task, plan)
    model, variate = received.vectors(task.tensors(options), params, plan)
    frozen = received.frozen(task, options)
    hashed = model_hash(model, offer.tensors, variate, frozen)
    return CheckedOffer(
        ctx=received.context(pinned.coordinator_public, spec, hashed, roster),
        question=_question(
            offer,
            spec,
            plan,
            params,
            pinned,
            dataset_id=dataset_id,
            attempt=request.attempt,
            model_hash=hashed,
        ),
        task=_with_frozen(task, frozen),
        options=options,
        tensors=offer.tensors,
        model=model,
        variate=variate,
        params=params,
        roster=roster,
        ledger_echo=offer.ledger_echo,
        version=VERSIONS.agree(offer.versions),
    )


def check_plan(
    asked: PreflightQuestion,
    attempt: Attempt,
    *,
    pinned: Pinned,
    policy: Policy,
    dataset_id: str,
    model_hash: bytes,
    load_task: Callable[[TaskSpec], Task] = registry.load,
) -> CheckedPlan:
    """Judge a plan that no model comes with yet; changes nothing.

    `model_hash` is that of the update which may be masked again, if there is one.

    Raises:
        As check_offer().
    """
    params, plan = _parameters(asked, policy)
    spec, task = _loaded(asked, policy, load_task)
    options = _options(task, plan)
    sizes = (math.prod(each.shape) for each in task.tensors(options))
    _check_vector_layout(params, plan, sum(sizes))
    return CheckedPlan(
        question=_question(
            asked,
            spec,
            plan,
            params,
            pinned,
            dataset_id=dataset_id,
            attempt=attempt,
            model_hash=model_hash,
        ),
        task=task,
        options=options,
        params=params,
    )


def _question(
    asked: Asked,
    spec: TaskSpec,
    plan: AnyPlan,
    params: Params,
    pinned: Pinned,
    *,
    dataset_id: str,
    attempt: Attempt,
    model_hash: bytes,
) -> Question:
    """What the ledger is asked."""
    return Question(
        coordinator_id=pinned.coordinator_public,
        task_id=spec.id,
        task_version=spec.version,
        task_hash=spec.task_hash(),
        model_hash=model_hash,
        plan=plan,
        plan_json=asked.plan_json,
        attempt=attempt,
        dataset_id=dataset_id,
        own_task=spec.own,
        weight_max=params.weight_max,
    )


def installed_task(asked: Asked) -> TaskSpec:
    """The installed task of that id, version and hash; never code from the network.

    Raises:
        ProtocolError: TASK_UNKNOWN.
    """
    spec = registry.find(asked.task_id, asked.task_version)
    if spec.own and spec.code_hash() != asked.code_hash:
        theirs = context.task_hash(spec.id, spec.version, asked.code_hash)
        raise ProtocolError(
            RefusalCode.TASK_UNKNOWN,
            f"own task {spec.id} {spec.version} has the hash {spec.task_hash().hex()} here and "
            f"{theirs.hex()} at the coordinator; install the same file, and the same edgeveil, on both",
        )
    if spec.code_hash() != asked.code_hash:
        raise ProtocolError(
            RefusalCode.TASK_UNKNOWN,
            f"task {spec.id} {spec.version} is installed here with other code than the "
            "coordinator's; install the same edgeveil version on both",
        )
    return spec


def _loaded(
    asked: Asked, policy: Policy, load_task: Callable[[TaskSpec], Task]
) -> tuple[TaskSpec, Task]:
    """The installed task; an own one is not loaded before the policy has allowed its very code."""
    spec = installed_task(asked)
    if spec.own:
        check_own_task(policy, spec.id, spec.version, spec.task_hash())
    try:
        return spec, load_task(spec)
    except ConfigError as error:
        raise ProtocolError(RefusalCode.TASK_UNKNOWN, error.message) from error


def _parameters(asked: Asked, policy: Policy) -> tuple[Params, AnyPlan]:
    try:
        params = Params.decode(asked.params)
    except Malformed as error:
        raise ProtocolError(
            RefusalCode.MALFORMED, f"secure-aggregation parameters: {error}"
        ) from error
    policy.client_policy().check(params)
    params.check_overflow()
    return params, read_plan(asked.plan_json)


def _options(task: Task, plan: AnyPlan) -> Options:
    try:
        return task.parse_options(plan.options)
    except ConfigError as error:
        raise ProtocolError(
            RefusalCode.TASK_UNKNOWN, f"task options: {error}", blame=Blame.PEER
        ) from error


def _with_frozen(task: Task, frozen: Frozen | None) -> Task:
    if frozen is None:
        return task
    from edgeveil.shared.tasks.modules import with_frozen  # noqa: PLC0415 - torch

    return with_frozen(task, frozen)


@dataclass(frozen=True)
class _Received:
    """An offer as it came; each method judges one part of it, with what the earlier ones made."""

    request: Request
    offer: RoundOffer

    def vectors(
        self, own: tuple[Tensor, ...], params: Params, plan: AnyPlan
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """The global model, and the global control variate if the plan has one; each (d,).

        `own` are the tensors of this device's own task, whose shape they must have.
        """
        if self.offer.tensors != own:
            raise ProtocolError(
                RefusalCode.MODEL_INVALID, "the model's tensors are not those of the installed task"
            )
        if self.request.bulk is None:
            raise ProtocolError(RefusalCode.MODEL_INVALID, "the offer came without a model")
        bulk = memoryview(self.request.bulk).cast("B")
        half = bulk.nbytes // 2 if plan.control_variates else bulk.nbytes
        model = check_vector(bulk[:half], own)
        _check_vector_layout(params, plan, model.size)
        if not plan.control_variates:
            return model, None
        variate = check_vector(bulk[half:], own)
        _check_within_reach(variate, params)
        return model, variate

    def frozen(self, task: Task, options: Options) -> Frozen | None:
        """What training leaves as it is, if the offer brings it; else it is this task's own."""
        if self.request.frozen is None:
            return None
        from edgeveil.shared.tasks.modules import frozen_tensors  # noqa: PLC0415 - torch

        own = frozen_tensors(task, options)
        if not own:
            raise ProtocolError(
                RefusalCode.MODEL_INVALID, "the offer has a frozen part, the plan's model has none"
            )
        return Frozen(own, check_vector(memoryview(self.request.frozen).cast("B"), own))

    def context(self, coordinator: bytes, spec: TaskSpec, model: bytes, roster: Roster) -> bytes:
        """The hash of all that was judged so far, which the coordinator must have signed."""
        attempt, offer = self.request.attempt, self.offer
        ctx = context.context(
            federation_id=roster.federation_id,
            run_id=attempt.run_id,
            round_number=attempt.round,
            attempt=attempt.attempt,
            shard=offer.shard,
            task_hash=spec.task_hash(),
            model_hash=model,
            config_hash=context.config_hash(offer.params, offer.plan_json),
            roster_hash=roster.hash(),
        )
        verify(
            coordinator,
            offer.open_signature,
            context.open_message(ctx),
            code=RefusalCode.CTX_MISMATCH,
            who="the coordinator over this attempt's context",
        )
        return ctx


def _check_within_reach(variate: NDArray[np.float32], params: Params) -> None:
    """A global control variate is a mean of updates, so no place of it lies beyond that of weight 1."""
    values = params.segments[1]
    most = values.bound * values.step * (1 + 1e-6)  # rounded to float32 on its way
    if float(np.abs(variate).max()) > most:
        raise ProtocolError(
            RefusalCode.MODEL_INVALID, "the control variate lies beyond the reach of any update"
        )


def _check_vector_layout(params: Params, plan: AnyPlan, parameters: int) -> None:
    """Exactly one weight lane and one signed lane per parameter; no place for anything else.

    What an evaluation sums follows from its task (agent.rounds.evaluating.counts).
    """
    if isinstance(plan, EvaluationPlan):
        return
    layout = [(item.name, item.kind, item.count, item.limbs) for item in params.segments]
    expected = [("weight", UNSIGNED, 1, 1), ("params", SIGNED, parameters, 1)]
    if layout != expected:
        raise ProtocolError(
            RefusalCode.POLICY_VECTOR, f"the vector must be {expected}, the offer has {layout}"
        )
