"""The agent's part in a round: judge the offer, charge the ledger, train, seal, then mask and unmask.

One attempt at a time; a newer one replaces it. Save, then send: the ledger line of a step is on the
disk before the reply that depends on it leaves. Whatever fails, the coordinator learns a code from a
closed list and the owner a sentence in the agent's own log.
"""

import errno
import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeveil.agent.home.notices import clipped, consent, small_cohort
from edgeveil.agent.home.refusals import RefusalCounts
from edgeveil.agent.ledger.guard import Reservation, precheck
from edgeveil.agent.ledger.reading import LEDGER, check_never_opened
from edgeveil.agent.ledger.store import LedgerStore
from edgeveil.agent.rounds.device import Device
from edgeveil.agent.rounds.offer import CheckedOffer, check_offer
from edgeveil.agent.rounds.upload import from_blob, saturated, to_blob, vector_lanes
from edgeveil.agent.rounds.variates import Variates
from edgeveil.shared.base.errors import (
    Busy,
    DataError,
    EdgeveilError,
    PolicyRefusal,
    ProtocolError,
    RefusalCode,
    StateDamaged,
    StorageFailed,
)
from edgeveil.shared.base.failpoints import Failpoint, failpoint
from edgeveil.shared.data.images import MAX_VALUES
from edgeveil.shared.events.log import Event
from edgeveil.shared.secagg.client.session import ClientSession
from edgeveil.shared.secagg.primitives.canonical import u64
from edgeveil.shared.secagg.primitives.errors import SecaggError
from edgeveil.shared.secagg.primitives.ring import Lanes
from edgeveil.shared.tasks.records import Records
from edgeveil.shared.wire.messages import (
    VERSIONS,
    Attempt,
    MaskedAccept,
    Reply,
    Request,
    RoundAccept,
    Stage,
    check_request,
    make_refusal,
    make_reply,
)

DISK_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG}
LIFETIME_S = 900.0  # from the advert on: bounds how long a coordinator can go on choosing cohorts

log = logging.getLogger("edgeveil.agent")


@dataclass
class _Open:
    """The attempt this agent takes part in."""

    request: Request
    attempt: Attempt
    ctx: bytes
    secagg: ClientSession
    ledger: LedgerStore
    accept: bytes  # the body of the reply to ROUND
    expires: float  # monotonic; a coordinator that takes longer gets nothing more


class Session:
    """handle() answers every request; accepted() hears that a reply reached the gateway."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._ledger: LedgerStore | None = None
        self._open: _Open | None = None
        self._variates = Variates(device.ledger_folder)
        self._refusals = RefusalCounts(device.home.path)
        self._noted = ""  # the run whose small cohorts the owner has been told about
        for notice in consent(device.policy.secagg.allow_two):
            self._tell(notice)
        device.home.check_ledgers_kept()
        if (device.ledger_folder / LEDGER).exists():
            self._ledger = self._open_ledger(n_ref=1)  # ignored: fixed when the ledger was made
        else:
            check_never_opened(device.ledger_folder / LEDGER, device.home.identity().public)

    def close(self) -> None:
        self._erase()
        if self._ledger is not None:
            self._ledger.close()

    def handle(self, request: Request) -> Reply:
        """Answer, or refuse with a code; never raises on anything a request can hold."""
        device = self._device
        try:
            check_request(request, device.pinned.coordinator_public, device.pinned.agent_id)
        except ProtocolError as error:
            return self._refuse(request, error.code, error)
        code: RefusalCode
        cause: Exception
        try:
            return self._answer(request)
        except (PolicyRefusal, ProtocolError) as error:
            code, cause = error.code, error
        except SecaggError as error:
            code, cause = RefusalCode(error.code), error
        except EdgeveilError as error:
            code, cause = _local_fault(error), error
        except Exception as error:
            disk = isinstance(error, OSError) and error.errno in DISK_FAULTS
            code, cause = RefusalCode.STORAGE_FAILED if disk else RefusalCode.INTERNAL, error
            log.exception("%s of %s failed", request.stage, request.attempt)
        if self._open is not None and self._open.attempt == request.attempt:
            self._erase()
        return self._refuse(request, code, cause)

    def accepted(self, reply: Reply) -> None:
        """The gateway took our reply and its objects; after UNMASK the ledger closes the attempt."""
        if reply.stage is not Stage.UNMASK or reply.refusal is not None or self._ledger is None:
            return
        self._ledger.ack(reply.attempt)
        state = self._ledger.state
        self._device.on_status(
            f"round {reply.attempt.round}: done; "
            f"ε {state.epsilon_spent:.3f} of {state.epsilon_max:g} spent"
        )

    def _answer(self, request: Request) -> Reply:
        if request.stage is Stage.ROUND:
            return self._reply(request, self._take_part(request))
        current = self._open
        if current is None or current.attempt != request.attempt:
            raise ProtocolError(RefusalCode.STATE, f"this agent takes no part in {request.attempt}")
        if self._device.clock.monotonic() > current.expires:
            raise ProtocolError(
                RefusalCode.TIMEOUT, f"{request.attempt} has taken over {LIFETIME_S:.0f} s"
            )
        match request.stage:
            case Stage.SHARE:
                return self._reply(request, current.secagg.share(request.body))
            case Stage.MASKED:
                return self._submit(request, current)
            case Stage.AGREE:
                return self._reply(request, current.secagg.agree(request.body))
            case _:
                return self._reply(request, current.secagg.unmask(request.body))

    def _take_part(self, request: Request) -> bytes:
        """M1: everything from the offer to the signed advert; the body of the reply."""
        if self._open is not None and self._open.request == request:
            return self._open.accept
        self._erase()
        device = self._device
        offer = check_offer(
            request,
            home=device.home,
            pinned=device.pinned,
            policy=device.policy,
            dataset_id=device.dataset_id,
            now=device.clock.wall(),
            load_task=device.load_task,
        )
        last = device.home.last_attempt(request.attempt.run_id)
        if last is not None and request.attempt <= last:
            raise ProtocolError(RefusalCode.ROUND_REPLAY, f"{request.attempt} is not after {last}")
        device.may_train()
        trainer = device.trainer()
        ledger = self._ledger or self._open_ledger(
            device.policy.declared_size(device.shelf.count())
        )
        self._ledger = ledger
        ledger.check_echo(offer.ledger_echo, request.attempt.run_id)
        reservation = precheck(
            offer.proposal, device.policy, ledger.state, pinned=device.pinned.coordinator_public
        )
        examples = self._examples(offer, ledger)
        trainer.check_trainable(
            offer.task, offer.options, examples, modes=device.policy.gradient_modes
        )
        self._note_cohort(offer)
        blob = self._update(offer, reservation, examples, ledger)
        if offer.variate is not None:
            self._variates.keep(request.attempt.run_id, blob)
        failpoint(Failpoint.AGENT_ADVANCE_BEFORE)
        device.home.advance(request.attempt)
        failpoint(Failpoint.AGENT_ADVANCE_AFTER)
        secagg = ClientSession(
            ctx=offer.ctx,
            params=offer.params,
            members=offer.roster.members,
            signer=device.signer,
            policy=device.policy.client_policy(),
            vector=self._lanes(offer, blob),
        )
        accept = RoundAccept(secagg.advert(), ledger.head(), offer.version).encode()
        expires = device.clock.monotonic() + LIFETIME_S
        self._open = _Open(request, request.attempt, offer.ctx, secagg, ledger, accept, expires)
        return accept

    def _examples(self, offer: CheckedOffer, ledger: LedgerStore) -> Records:
        """The records, read only after everything public was checked and only if they fit in memory."""
        wanted = offer.options.values_per_record * ledger.state.n_ref
        if wanted > MAX_VALUES:
            raise PolicyRefusal(
                RefusalCode.POLICY_TASK,
                f"the task's options ask for {wanted} values in memory, at most {MAX_VALUES}",
            )
        return self._device.shelf.load(offer.task, offer.options)

    def _update(
        self, offer: CheckedOffer, reservation: Reservation, examples: Records, ledger: LedgerStore
    ) -> bytes:
        """The sealed update: an unsubmitted one of the same question again, or a freshly charged one."""
        attempt = offer.proposal.attempt
        blob = ledger.sealed_blob(reservation)
        if blob is not None:
            self._device.on_status(f"round {attempt.round}: masking the sealed update again")
            return blob
        ledger.reserve(reservation)
        plan = offer.proposal.plan
        self._device.on_status(
            f"round {attempt.round} of {plan.rounds}: training, {plan.steps} steps"
        )
        failpoint(Failpoint.AGENT_TRAIN_BEFORE)
        started = self._device.clock.monotonic()
        with self._device.progress(f"round {attempt.round}: training", plan.steps) as step:
            result = self._device.trainer().train(
                offer.task,
                offer.options,
                examples,
                offer.model,
                offer.tensors,
                plan,
                ledger.state.n_ref,
                modes=self._device.policy.gradient_modes,
                progress=lambda _done, _planned: step(1),
                bend=self._bend(offer),
            )
        failpoint(Failpoint.AGENT_TRAIN_AFTER)
        took = round((self._device.clock.monotonic() - started) * 1000)
        self._device.note(Event.UPDATE_TRAIN, attempt, stage=Stage.ROUND, dur_ms=took)
        blob = to_blob(result.update)
        ledger.seal(attempt, blob, steps_done=result.steps, gradient_mode=result.gradient_mode)
        return blob

    def _bend(self, offer: CheckedOffer) -> NDArray[np.float32] | None:
        """What this agent's control variate makes of the offered one, if the plan has them."""
        if offer.variate is None:
            return None
        return self._variates.bend(offer.proposal.attempt.run_id, offer.variate)

    def _lanes(self, offer: CheckedOffer, blob: bytes) -> Lanes:
        """The integers to mask; how many values were clipped is told to the owner and to nobody else."""
        update = from_blob(blob)
        number = offer.proposal.attempt.round
        for notice in clipped(saturated(update, offer.params), update.size):
            self._tell(f"round {number}: {notice}")
        return vector_lanes(update, offer.params)

    def _note_cohort(self, offer: CheckedOffer) -> None:
        """Once per run: what a sum of so few agents hides and survives."""
        run_id = offer.proposal.attempt.run_id
        if run_id != self._noted:
            self._noted = run_id
            for notice in small_cohort(offer.params):
                self._tell(f"run {run_id}: {notice}")

    def _tell(self, notice: str) -> None:
        log.warning("%s", notice)
        self._device.on_status(notice)

    def _submit(self, request: Request, current: _Open) -> Reply:
        """M3: the ledger knows before the masked vector leaves; asked again, the same bytes leave."""
        again = current.secagg.state != "SHARED"
        body, vector = current.secagg.masked(request.body)
        if not again:
            current.ledger.submit(current.attempt, current.ctx)
            self._device.on_status(f"round {current.attempt.round}: masked update submitted")
        accept = MaskedAccept(body, current.ledger.head())
        return self._reply(request, accept.encode(), vector)

    def _reply(self, request: Request, body: bytes, bulk: memoryview | None = None) -> Reply:
        device = self._device
        size = len(body) + len(bulk or b"")
        device.note(Event.REPLY_SEND, request.attempt, stage=request.stage, size=size)
        return make_reply(device.signer, device.pinned.agent_id, request, body, bulk)

    def _refuse(self, request: Request, code: RefusalCode, cause: Exception) -> Reply:
        device = self._device
        where = f"{request.stage} of {request.attempt}"
        self._refusals.note(code, where=where, now=device.clock.wall())
        device.note(Event.REPLY_REFUSE, request.attempt, stage=request.stage, reason=code.value)
        log.warning("refused %s of %s: %s: %s", request.stage, request.attempt, code, cause)
        device.on_status(f"round {request.attempt.round}: refused ({code}): {cause}")
        about = self._about(request, code, cause)
        return make_refusal(device.signer, device.pinned.agent_id, request, code, about)

    def _about(self, request: Request, code: RefusalCode, cause: Exception) -> bytes:
        """What a refusal says beside its code (shared.wire.messages.REFUSAL_BYTES); mostly nothing."""
        home = self._device.home
        match code:
            case RefusalCode.VERSION:
                return VERSIONS.encode()
            case RefusalCode.SHARE_AUTH if isinstance(cause, SecaggError):
                return cause.agent or b""
            case RefusalCode.ROUND_REPLAY:
                last = home.last_attempt(request.attempt.run_id)
                return b"" if last is None else last.position()
            case RefusalCode.ROSTER_STALE:
                known = home.roster()
                return b"" if known is None else u64(known.roster.epoch)
            case _:
                return b""

    def _open_ledger(self, n_ref: int) -> LedgerStore:
        device = self._device
        ledger = LedgerStore.open(
            device.ledger_folder,
            signer=device.signer,
            dataset_id=device.dataset_id,
            n_ref=n_ref,
            unit=device.policy.unit,
            policy=device.policy,
            clock=device.clock,
            accept_looser=device.accept_looser,
        )
        ledger.watch_fsyncs(device.fsynced)
        return ledger

    def _erase(self) -> None:
        if self._open is not None:
            self._open.secagg.erase()
        self._open = None


def _local_fault(error: EdgeveilError) -> RefusalCode:
    """The code for a fault of this device's own making."""
    if isinstance(error, StorageFailed):
        return RefusalCode.STORAGE_FAILED
    if isinstance(error, Busy):
        return RefusalCode.LEDGER_LOCKED
    if isinstance(error, StateDamaged):
        return RefusalCode.LEDGER_CORRUPT
    if isinstance(error, DataError):
        return RefusalCode.DATASET_UNKNOWN
    return RefusalCode.INTERNAL
