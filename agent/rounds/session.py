"""The agent's part in a round: judge the offer, charge the ledger, train, seal, then mask and unmask.

One attempt at a time; a newer one replaces it. Save, then send: the ledger line of a step is on the
disk before the reply that depends on it leaves. Whatever fails, the coordinator learns a code from a
closed list and the owner a sentence in the agent's own log.
"""

import logging
from dataclasses import dataclass

from edgeveil.agent.home.advice import advised
from edgeveil.agent.home.notices import consent, small_cohort
from edgeveil.agent.home.refusals import RefusalCounts
from edgeveil.agent.home.size import settle_size
from edgeveil.agent.ledger.reading import LEDGER
from edgeveil.agent.ledger.store import LedgerStore
from edgeveil.agent.ledger.witnesses import check_nothing_lost
from edgeveil.agent.rounds.device import Device, Summand
from edgeveil.agent.rounds.faults import about_standing, code_of, is_ours
from edgeveil.agent.rounds.offer import CheckedOffer, check_offer
from edgeveil.agent.rounds.preflight.answering import Preflights
from edgeveil.agent.rounds.work import ByKind, Work
from edgeveil.shared.base.errors import ProtocolError, RefusalCode
from edgeveil.shared.base.failpoints import Failpoint, failpoint
from edgeveil.shared.events.log import Event
from edgeveil.shared.privacy.unlimited import shown
from edgeveil.shared.secagg.primitives.canonical import u32
from edgeveil.shared.secagg.primitives.errors import SecaggError
from edgeveil.shared.wire.messages import (
    Asking,
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

LIFETIME_S = 900.0  # from the advert on: bounds how long a coordinator can go on choosing cohorts

log = logging.getLogger("edgeveil.agent")


@dataclass
class _Open:
    """The attempt this agent takes part in."""

    request: Request
    attempt: Attempt
    ctx: bytes
    secagg: Summand
    ledger: LedgerStore
    accept: bytes  # the body of the reply to ROUND
    expires: float  # monotonic; a coordinator that takes longer gets nothing more


class Session:
    """handle() answers every request; accepted() hears that a reply reached the gateway."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._open: _Open | None = None
        self._work: Work = ByKind(device)
        self._refusals = RefusalCounts(device.home.path)
        self._noted = ""  # the run whose small cohorts the owner has been told about
        for notice in consent(device.policy.secagg.allow_two):
            device.tell(notice)
        if device.policy.data is not None:  # before the ledger: a count of nothing is not charged
            device.shelf.summary().check(device.policy.data.usable_min, device.shelf.path)
        self._ledger = self._own_ledger()
        self._preflights = Preflights(device, self._work, self._ledger, self._refusals)

    def close(self) -> None:
        self._erase()
        self._ledger.close()

    @property
    def size(self) -> int:
        """What this data set counts as (n_ref), whatever lies in the folder."""
        return self._ledger.state.n_ref

    def handle(self, request: Request) -> Reply:
        """Answer, or refuse with a code; never raises on anything a request can hold."""
        device = self._device
        try:
            check_request(request, device.pinned.coordinator_public, device.pinned.agent_id)
        except ProtocolError as error:
            return self._refuse(request, error.code, error)
        try:
            return self._answer(request)
        except Exception as error:
            if not is_ours(error):
                log.exception("%s of %s failed", request.stage, request.attempt)
            if self._takes_part_in(request):
                self._erase()
            return self._refuse(request, code_of(error), error)

    def accepted(self, reply: Reply) -> None:
        """The gateway took our reply and its objects; after UNMASK the ledger closes the attempt."""
        if reply.stage is not Stage.UNMASK or reply.refusal is not None:
            return
        self._ledger.ack(reply.attempt)
        state = self._ledger.state
        most = state.limits.epsilon_sum_max
        of = f" of {most:g}" if most else ""
        alone = " alone" if state.shared else ""
        sums = f", ε of sums {shown(state.epsilon_sum, '.3f')}{of}" if state.shared else ""
        self._device.on_status(
            f"round {reply.attempt.round}: done; "
            f"ε{alone} {shown(state.epsilon_spent, '.3f')} of {state.epsilon_max:g} spent{sums}"
        )

    def _takes_part_in(self, request: Request) -> bool:
        """Whether a failure is one of the attempt at hand; a preflight is never part of one."""
        here = self._open
        return (
            isinstance(request.stage, Stage)
            and here is not None
            and here.attempt == request.attempt
        )

    def _answer(self, request: Request) -> Reply:
        if request.stage is Asking.PREFLIGHT:
            return self._preflights.reply(request)
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
        self._work.ready()
        ledger = self._ledger
        ledger.check_echo(offer.ledger_echo, request.attempt.run_id)
        reservation = self._work.admit(offer, ledger)
        self._note_cohort(offer)
        sealed = self._work.seal(offer, reservation, ledger)
        failpoint(Failpoint.AGENT_ADVANCE_BEFORE)
        device.home.advance(request.attempt)
        failpoint(Failpoint.AGENT_ADVANCE_AFTER)
        secagg = device.secagg(
            ctx=offer.ctx,
            params=offer.params,
            members=offer.roster.members,
            signer=device.signer,
            policy=device.policy.client_policy(),
            vector=self._work.vector(offer, sealed, ledger),
            honest=offer.question.plan.honest,
        )
        accept = RoundAccept(secagg.advert(), ledger.head(), offer.version).encode()
        expires = device.clock.monotonic() + LIFETIME_S
        self._open = _Open(request, request.attempt, offer.ctx, secagg, ledger, accept, expires)
        return accept

    def _note_cohort(self, offer: CheckedOffer) -> None:
        """Once per run: what a sum of so few agents hides and survives."""
        run_id = offer.question.attempt.run_id
        if run_id != self._noted:
            self._noted = run_id
            for notice in small_cohort(offer.params):
                self._device.tell(f"run {run_id}: {notice}", kind="cohort")

    def _submit(self, request: Request, current: _Open) -> Reply:
        """M3: the ledger knows before the masked vector leaves; asked again, the same bytes leave."""
        again = current.secagg.state != "SHARED"
        body, vector = current.secagg.masked(request.body)
        if not again:
            current.ledger.submit(current.attempt, current.ctx)
            self._device.on_status(f"round {current.attempt.round}: masked vector submitted")
        accept = MaskedAccept(body, current.ledger.head())
        return self._reply(request, accept.encode(), vector)

    def _reply(self, request: Request, body: bytes, bulk: memoryview | None = None) -> Reply:
        device = self._device
        size = len(body) + len(bulk or b"")
        device.note(Event.REPLY_SEND, request.attempt, stage=request.stage, size=size)
        return make_reply(device.signer, device.pinned.agent_id, request, body, bulk)

    def _refuse(self, request: Request, code: RefusalCode, cause: Exception) -> Reply:
        device = self._device
        about = self._about(request, code, cause)
        refusal = make_refusal(device.signer, device.pinned.agent_id, request, code, about)
        if request.stage is Asking.PREFLIGHT:
            return refusal  # whoever asks, however often, must not make a file grow
        where = f"{request.stage} of {request.attempt}"
        self._refusals.note(code, where=where, now=device.clock.wall())
        device.note(Event.REPLY_REFUSE, request.attempt, stage=request.stage, reason=code.value)
        told = advised(code, cause)
        log.warning(
            "refused %s of %s: %s: %s",
            request.stage,
            request.attempt,
            code,
            told,
            extra={"kind": code.value},
        )
        device.on_status(f"round {request.attempt.round}: refused ({code}): {told}")
        return refusal

    def _about(self, request: Request, code: RefusalCode, cause: Exception) -> bytes:
        """What a refusal says beside its code (shared.wire.messages.REFUSAL_BYTES); mostly nothing."""
        if code is RefusalCode.SHARE_AUTH and isinstance(cause, SecaggError):
            return cause.agent or b""
        if code is RefusalCode.POLICY_SIZE:
            return u32(self._ledger.state.n_ref)
        return about_standing(code, self._device.home, request.attempt.run_id)

    def _own_ledger(self) -> LedgerStore:
        """The ledger that is there; without one, a new one for the size the policy declares or a noisy count."""
        device = self._device
        folder = device.ledger_folder
        if (folder / LEDGER).exists():
            ledger = LedgerStore.open(
                folder,
                signer=device.signer,
                dataset_id=device.dataset_id,
                unit=device.policy.unit,
                policy=device.policy,
                clock=device.clock,
                attempts=device.home.last_attempts(),
                accept_looser=device.accept_looser,
            )
            for remark in ledger.remarks:
                device.tell(remark)
        else:
            check_nothing_lost(folder, device.signer.public, device.home.last_attempts())
            size = settle_size(device.policy, device.shelf.count)
            ledger = LedgerStore.create(
                folder,
                signer=device.signer,
                dataset_id=device.dataset_id,
                size=size,
                unit=device.policy.unit,
                policy=device.policy,
                clock=device.clock,
                accept_looser=device.accept_looser,
            )
            device.tell(size.sentence)
        if ledger.confirmed:
            device.tell(
                f"confirmed, policy.toml allows more from now on: {', '.join(ledger.confirmed)}"
            )
        ledger.watch_fsyncs(device.fsynced)
        return ledger

    def _erase(self) -> None:
        if self._open is not None:
            self._open.secagg.erase()
        self._open = None
