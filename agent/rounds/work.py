"""What an agent puts into a secure sum: admitted against policy and budget, computed, sealed, made lanes.

One class per kind of work; the session sees none of the difference. Nothing leaves the device here.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgeveil.agent.home.notices import clipped
from edgeveil.agent.home.policy import Policy
from edgeveil.agent.home.records.held_out import HeldOut
from edgeveil.agent.ledger.guard import Reservation, precheck
from edgeveil.agent.ledger.store import LedgerStore
from edgeveil.agent.rounds.device import Device
from edgeveil.agent.rounds.evaluating.evaluation import Evaluating
from edgeveil.agent.rounds.offer import CheckedOffer, CheckedPlan
from edgeveil.agent.rounds.upload import (
    check_share,
    from_blob,
    lanes_again,
    noised_lanes,
    saturated,
    sealed_lanes,
    shared_lanes,
    to_blob,
    vector_lanes,
)
from edgeveil.agent.rounds.variates import Variates
from edgeveil.shared.base.errors import PolicyRefusal, ProtocolError, RefusalCode
from edgeveil.shared.base.failpoints import Failpoint, failpoint
from edgeveil.shared.data.kinds import RecordSchema
from edgeveil.shared.events.log import Event
from edgeveil.shared.secagg.primitives.ring import Lanes
from edgeveil.shared.tasks.records import Records
from edgeveil.shared.wire.messages import Stage
from edgeveil.shared.wire.plan import EvaluationPlan, TrainingPlan

Progress = Callable[[int, int], None]  # steps done, steps planned


class Work(Protocol):
    """Called in this order, for one offer that was checked."""

    def ready(self) -> None:
        """Whether this device works at all now; raises PolicyRefusal, and what an import raises."""

    def admit(self, offer: CheckedPlan, ledger: LedgerStore) -> Reservation:
        """Everything that can be checked before anything is charged; changes nothing.

        Raises:
            PolicyRefusal, BudgetExhausted: with the code of the first rule that failed.
        """

    def seal(self, offer: CheckedOffer, reservation: Reservation, ledger: LedgerStore) -> bytes:
        """What goes into the sum, charged and on the disk: free if it was sealed and never submitted."""

    def vector(self, offer: CheckedOffer, sealed: bytes, ledger: LedgerStore) -> Lanes:
        """The integers to mask, (params.lanes,): of what was sealed, the declared size, fresh rounding."""


class KindOfWork(Protocol):
    """What differs between the kinds of plan; otherwise as Work."""

    def check(self, offer: CheckedPlan, ledger: LedgerStore) -> None:
        """What the rules that every plan is under do not say; changes nothing, raises PolicyRefusal."""

    def seal(self, offer: CheckedOffer, reservation: Reservation, ledger: LedgerStore) -> bytes: ...

    def vector(self, offer: CheckedOffer, sealed: bytes, ledger: LedgerStore) -> Lanes: ...


class ByKind:
    """What a device does for an offer, by the kind of plan that it is under; a Work."""

    def __init__(self, device: Device) -> None:
        self._device = device
        held_out = HeldOut(device.home.path, device.policy.evaluation_share)
        self._training = Training(device, held_out)
        self._evaluating = Evaluating(device, held_out)

    def ready(self) -> None:
        self._device.may_train()
        self._device.trainer()

    def admit(self, offer: CheckedPlan, ledger: LedgerStore) -> Reservation:
        device = self._device
        _check_schema(offer, device.policy)
        reservation = precheck(
            offer.question,
            device.policy,
            ledger.state,
            pinned=device.pinned.coordinator_public,
            offline=device.pinned.offline,
        )
        self._of(offer).check(offer, ledger)
        return reservation

    def seal(self, offer: CheckedOffer, reservation: Reservation, ledger: LedgerStore) -> bytes:
        return self._of(offer).seal(offer, reservation, ledger)

    def vector(self, offer: CheckedOffer, sealed: bytes, ledger: LedgerStore) -> Lanes:
        return self._of(offer).vector(offer, sealed, ledger)

    def _of(self, offer: CheckedPlan) -> KindOfWork:
        evaluates = isinstance(offer.question.plan, EvaluationPlan)
        return self._evaluating if evaluates else self._training


NOTHING_LEFT = (
    "every record is held out for evaluation, so this device adds noise alone; where all are one group "
    "(docs/evaluation.md), that is so for every round"
)


class Training:
    """The work of a training round: DP-SGD, or what the owner lets it be, on the owner's records, an update that is sealed."""

    def __init__(self, device: Device, held_out: HeldOut) -> None:
        self._device = device
        self._held_out = held_out
        self._variates = Variates(device.ledger_folder)

    def check(self, offer: CheckedPlan, ledger: LedgerStore) -> None:
        device, plan = self._device, _training_plan(offer)
        if plan.integer_noise:
            check_share(plan, offer.params, ledger.state.n_ref)
        if plan.plain:
            device.trainer().check_form(offer.task, offer.options)
        else:
            device.trainer().check_trainable(
                offer.task, offer.options, modes=device.policy.gradient_modes
            )

    def seal(self, offer: CheckedOffer, reservation: Reservation, ledger: LedgerStore) -> bytes:
        blob = self._update(offer, reservation, ledger)
        if offer.variate is not None:
            self._variates.keep(offer.question.attempt.run_id, blob)
        return blob

    def vector(self, offer: CheckedOffer, sealed: bytes, ledger: LedgerStore) -> Lanes:
        """How many values were clipped is told to the owner and to nobody else."""
        n_ref = ledger.state.n_ref
        if _training_plan(offer).integer_noise:
            return lanes_again(sealed, offer.params, n_ref)
        update = from_blob(sealed)
        self._tell_clipped(offer, saturated(update, offer.params, n_ref), update.size)
        return vector_lanes(update, offer.params, n_ref)

    def _tell_clipped(self, offer: CheckedOffer, count: int, size: int) -> None:
        for notice in clipped(count, size):
            number = offer.question.attempt.round
            self._device.tell(f"round {number}: {notice}", kind="clipped")

    def _update(self, offer: CheckedOffer, reservation: Reservation, ledger: LedgerStore) -> bytes:
        """The sealed update: an unsubmitted one of the same question again, or a freshly charged one."""
        device, attempt = self._device, offer.question.attempt
        blob = ledger.sealed_blob(reservation)
        if blob is not None:
            device.on_status(f"round {attempt.round}: masking the sealed update again")
            return blob
        plan = _training_plan(offer)
        if plan.noised:
            ledger.reserve(reservation)
        else:
            ledger.unlimited(reservation)
        device.on_status(f"round {attempt.round} of {plan.rounds}: training, {plan.steps} steps")
        failpoint(Failpoint.AGENT_TRAIN_BEFORE)
        started = device.clock.monotonic()
        # Not before the charge: it takes time.
        examples = self._held_out.training(device.shelf, offer.task, offer.options)
        if device.policy.evaluation_share and not len(examples):
            device.on_status(f"round {attempt.round}: {NOTHING_LEFT}")
        with device.progress(f"round {attempt.round}: training", plan.steps) as step:
            given = (offer, examples, ledger.state.n_ref, lambda _done, _all: step(1))
            blob, steps, mode = self._made(plan)(*given)
        failpoint(Failpoint.AGENT_TRAIN_AFTER)
        took = round((device.clock.monotonic() - started) * 1000)
        spent = ledger.state
        device.note(Event.UPDATE_TRAIN, attempt, stage=Stage.ROUND, dur_ms=took, spent=spent)
        ledger.seal(attempt, blob, steps_done=steps, gradient_mode=mode)
        return blob

    def _made(self, plan: TrainingPlan) -> Callable[..., tuple[bytes, int, str]]:
        """How what is sealed comes about under this plan."""
        if plan.whole:
            return self._whole
        return self._shared if plan.shared_noise else self._trained

    def _trained(
        self, offer: CheckedOffer, examples: Records, n_ref: int, progress: Progress
    ) -> tuple[bytes, int, str]:
        """The update as it is sealed, how many steps made it, and how their gradients were computed."""
        trainer, plan = self._device.trainer(), _training_plan(offer)
        given = (offer.task, offer.options, examples, offer.model, offer.tensors, plan)
        if not plan.noised:
            number = offer.question.attempt.round
            result = trainer.train_without_noise(*given, number, progress=progress)
        else:
            modes, bend = self._device.policy.gradient_modes, self._bend(offer)
            result = trainer.train(*given, n_ref, modes=modes, progress=progress, bend=bend)
        return to_blob(result.update), result.steps, result.gradient_mode

    def _shared(
        self, offer: CheckedOffer, examples: Records, n_ref: int, progress: Progress
    ) -> tuple[bytes, int, str]:
        """The same with a share of the noise in it, drawn once: masked again, it is the same integers."""
        trainer, plan = self._device.trainer(), _training_plan(offer)
        given = (offer.task, offer.options, examples, offer.model, offer.tensors, plan)
        modes = self._device.policy.gradient_modes
        found = trainer.summed_gradients(*given, n_ref, modes=modes, progress=progress)
        lanes, beyond = shared_lanes(found.sums, plan, offer.params, n_ref)
        self._tell_clipped(offer, beyond, lanes.size)
        return sealed_lanes(lanes), 1, found.gradient_mode

    def _whole(
        self, offer: CheckedOffer, examples: Records, _n_ref: int, progress: Progress
    ) -> tuple[bytes, int, str]:
        """The same of plain training: the whole update, clipped, is what the noise hides."""
        trainer, plan = self._device.trainer(), _training_plan(offer)
        given = (offer.task, offer.options, examples, offer.model, offer.tensors, plan)
        found = trainer.train_without_noise(*given, offer.question.attempt.round, progress=progress)
        lanes, beyond = noised_lanes(found.update, plan, offer.params)
        self._tell_clipped(offer, beyond, lanes.size)
        return sealed_lanes(lanes), plan.charged_steps, found.gradient_mode

    def _bend(self, offer: CheckedOffer) -> NDArray[np.float32] | None:
        """What this agent's control variate makes of the offered one, if the plan has them."""
        if offer.variate is None:
            return None
        return self._variates.bend(offer.question.attempt.run_id, offer.variate)


def _training_plan(offer: CheckedPlan) -> TrainingPlan:
    """The plan of an offer that asks for training."""
    plan = offer.question.plan
    if not isinstance(plan, TrainingPlan):
        raise ProtocolError(RefusalCode.STATE, "training under a plan to evaluate")
    return plan


def _check_schema(offer: CheckedPlan, policy: Policy) -> None:
    """Raise PolicyRefusal(POLICY_TASK), the same for every misfit, from options and policy alone."""
    if policy.data is None:
        return
    own: RecordSchema = policy.data.as_schema()
    asked = offer.task.schema(offer.options)
    if not own.fits(asked):
        raise PolicyRefusal(
            RefusalCode.POLICY_TASK,
            f"policy.toml: data is {own}, the plan asks for {asked}; kind and shape (height, "
            "width, channels, or the rows of a window) must be equal, every column asked for must be "
            "there by name and unit, and the plan must name every class (of boxes: the side must be equal, "
            "and the plan must name one class of these)",
        )
