"""The work of an evaluation: the offered model's tally on the records held out, noised, charged before it is made.

What leaves is a vector of integers with noise, inside the masks; this device's own figures stay with its owner.
"""

import math

from edgeveil.agent.home.records.held_out import HeldOut
from edgeveil.agent.ledger.guard import Reservation
from edgeveil.agent.ledger.store import LedgerStore
from edgeveil.agent.rounds.device import Device
from edgeveil.agent.rounds.evaluating import own_figures
from edgeveil.agent.rounds.evaluating.counts import check_counts, noisy_lanes, sealed, unsealed
from edgeveil.agent.rounds.evaluating.own_figures import OwnFigure
from edgeveil.agent.rounds.offer import CheckedOffer, CheckedPlan
from edgeveil.shared.base.errors import ProtocolError, RefusalCode
from edgeveil.shared.base.failpoints import Failpoint, failpoint
from edgeveil.shared.events.log import Event
from edgeveil.shared.scores.noisy.released import Released, released
from edgeveil.shared.secagg.primitives.ring import Lanes
from edgeveil.shared.wire.messages import Stage
from edgeveil.shared.wire.plan import EvaluationPlan

MODE = "tally"  # in the place of how gradients were computed


class Evaluating:
    """An agent.rounds.work.KindOfWork; `held_out` draws the line between what is trained on and what is not."""

    def __init__(self, device: Device, held_out: HeldOut) -> None:
        self._device = device
        self._held_out = held_out

    def check(self, offer: CheckedPlan, _ledger: LedgerStore) -> None:
        """Raises PolicyRefusal: POLICY_VECTOR for other counts than this task sums."""
        check_counts(_plan(offer), offer.params, _released(offer))

    def seal(self, offer: CheckedOffer, reservation: Reservation, ledger: LedgerStore) -> bytes:
        """What was sealed for this very question and never left, again; else charged, counted and noised afresh."""
        device, attempt = self._device, offer.question.attempt
        blob = ledger.sealed_blob(reservation)
        if blob is not None:
            device.on_status(f"round {attempt.round}: masking the sealed evaluation again")
            return blob
        ledger.reserve(reservation)
        device.on_status(f"round {attempt.round}: evaluating on the records held out")
        failpoint(Failpoint.AGENT_TRAIN_BEFORE)
        started = device.clock.monotonic()
        blob = sealed(noisy_lanes(self._counts(offer), _plan(offer), offer.params))
        failpoint(Failpoint.AGENT_TRAIN_AFTER)
        took = round((device.clock.monotonic() - started) * 1000)
        device.note(Event.UPDATE_EVALUATE, attempt, stage=Stage.ROUND, dur_ms=took)
        ledger.seal(attempt, blob, steps_done=1, gradient_mode=MODE)
        return blob

    def vector(self, _offer: CheckedOffer, blob: bytes, _ledger: LedgerStore) -> Lanes:
        """What was sealed, as it is: noise that is drawn once."""
        return unsealed(blob)

    def _counts(self, offer: CheckedOffer) -> Lanes:
        from edgeveil.agent.training.evaluating import tallying  # noqa: PLC0415 - torch

        device, question = self._device, offer.question
        records = self._held_out.evaluation(device.shelf, offer.task, offer.options)
        tally = tallying.tally(offer.task, offer.options, records, offer.model, offer.tensors)
        metrics = offer.task.metrics(tally, offer.options) if len(records) else {}
        figure = OwnFigure(
            question.attempt.run_id,
            question.attempt.round,
            int(device.clock.wall()),
            question.task_id,
            len(records),
            {name: value for name, value in metrics.items() if math.isfinite(value)},
        )
        own_figures.keep(device.ledger_folder, figure)
        return _released(offer).of(tally)


def _plan(offer: CheckedPlan) -> EvaluationPlan:
    plan = offer.question.plan
    if not isinstance(plan, EvaluationPlan):
        raise ProtocolError(RefusalCode.STATE, "an evaluation of a plan to train")
    return plan


def _released(offer: CheckedPlan) -> Released:
    return released(offer.task.tally_form(offer.options))
