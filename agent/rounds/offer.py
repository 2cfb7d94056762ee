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
from edgeveil.agent.ledger.guard import Question
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

    question: Question
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
    received = _Received(request, RoundOffer.decode(request.body))
    offer = received.offer
    roster = home.accept_roster(offer.roster_body, offer.roster_signature, now=now)
    params, plan = received.parameters(policy)
    task = load_task(spec := received.task())
    options = received.options(task, plan)
    model, variate = received.vectors(task.tensors(options), params, plan)
    hashed = model_hash(model, offer.tensors, variate)
    return CheckedOffer(
        ctx=received.context(pinned.coordinator_public, spec, hashed, roster),
        question=received.question(
            pinned.coordinator_public, spec, hashed, plan, dataset_id, params.weight_max
        ),
        task=task,
        options=options,
        tensors=offer.tensors,
        model=model,
        variate=variate,
        params=params,
        roster=roster,
        ledger_echo=offer.ledger_echo,
        version=VERSIONS.agree(offer.versions),
    )


@dataclass(frozen=True)
class _Received:
    """An offer as it came; each method judges one part of it, with what the earlier ones made."""

    request: Request
    offer: RoundOffer

    def parameters(self, policy: Policy) -> tuple[Params, TrainingPlan]:
        try:
            params = Params.decode(self.offer.params)
        except Malformed as error:
            raise ProtocolError(
                RefusalCode.MALFORMED, f"secure-aggregation parameters: {error}"
            ) from error
        policy.client_policy().check(params)
        params.check_overflow()
        return params, TrainingPlan.from_json(self.offer.plan_json)

    def task(self) -> TaskSpec:
        """The installed task of that id, version and hash; never code from the network."""
        spec = registry.find(self.offer.task_id, self.offer.task_version)
        if spec.code_hash() != self.offer.code_hash:
            raise ProtocolError(
                RefusalCode.TASK_UNKNOWN,
                f"task {spec.id} {spec.version} is installed here with other code than the "
                "coordinator's; install the same edgeveil version on both",
            )
        return spec

    def options(self, task: Task, plan: TrainingPlan) -> Options:
        try:
            return task.parse_options(plan.options)
        except ConfigError as error:
            raise ProtocolError(
                RefusalCode.TASK_UNKNOWN, f"task options: {error}", blame=Blame.PEER
            ) from error

    def vectors(
        self, own: tuple[Tensor, ...], params: Params, plan: TrainingPlan
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
        _check_vector_layout(params, model.size)
        if not plan.control_variates:
            return model, None
        variate = check_vector(bulk[half:], own)
        _check_within_reach(variate, params)
        return model, variate

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

    def question(  # noqa: PLR0917 - what was judged, in the order of a question's fields
        self,
        coordinator: bytes,
        spec: TaskSpec,
        model: bytes,
        plan: TrainingPlan,
        dataset: str,
        weight_max: int,
    ) -> Question:
        """What the ledger is asked to admit."""
        return Question(
            coordinator_id=coordinator,
            task_id=spec.id,
            task_version=spec.version,
            task_hash=spec.task_hash(),
            model_hash=model,
            plan=plan,
            plan_json=self.offer.plan_json,
            attempt=self.request.attempt,
            dataset_id=dataset,
            weight_max=weight_max,
        )


def _check_within_reach(variate: NDArray[np.float32], params: Params) -> None:
    """A global control variate is a mean of updates, so no place of it lies beyond that of weight 1."""
    values = params.segments[1]
    most = values.bound * values.step * (1 + 1e-6)  # rounded to float32 on its way
    if float(np.abs(variate).max()) > most:
        raise ProtocolError(
            RefusalCode.MODEL_INVALID, "the control variate lies beyond the reach of any update"
        )


def _check_vector_layout(params: Params, parameters: int) -> None:
    """Exactly one weight lane and one signed lane per parameter; no place for anything else."""
    layout = [(item.name, item.kind, item.count, item.limbs) for item in params.segments]
    expected = [("weight", UNSIGNED, 1, 1), ("params", SIGNED, parameters, 1)]
    if layout != expected:
        raise ProtocolError(
            RefusalCode.POLICY_VECTOR, f"the vector must be {expected}, the offer has {layout}"
        )
