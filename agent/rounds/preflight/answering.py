"""Answering a preflight: would this device accept the whole plan? Nothing is charged, trained or promised.

The checks are those of an offer, on the ledger as it is. What follows from policy and ledger is judged once
for each plan and kept (agent.rounds.preflight.kept); what follows from public standing, or from power and load
now, is looked at each time, as with offers. No question leaves a record in a ledger, and only a verdict a
line for the owner, so that asking makes no file grow (docs/threat-model.md, "What a preflight tells").
"""

import hashlib
import logging

from edgeveil.agent.home.advice import advised
from edgeveil.agent.home.refusals import RefusalCounts
from edgeveil.agent.ledger.store import LedgerStore
from edgeveil.agent.rounds.device import Device
from edgeveil.agent.rounds.faults import about_standing, code_of, is_ours
from edgeveil.agent.rounds.offer import check_plan, installed_task
from edgeveil.agent.rounds.preflight.kept import KeptAnswers
from edgeveil.agent.rounds.work import Work
from edgeveil.shared.base.errors import PolicyRefusal, ProtocolError, RefusalCode
from edgeveil.shared.base.installed import installed
from edgeveil.shared.secagg.primitives.canonical import u32
from edgeveil.shared.secagg.primitives.errors import SecaggError
from edgeveil.shared.wire.messages import (
    VERSIONS,
    Asking,
    Attempt,
    PreflightAnswer,
    PreflightQuestion,
    Reply,
    Request,
    make_reply,
)

log = logging.getLogger("edgeveil.agent")

VERDICTS = (PolicyRefusal, ProtocolError, SecaggError)


class Preflights:
    """One device's; `work` is what a round would ask of it."""

    def __init__(
        self, device: Device, work: Work, ledger: LedgerStore, refusals: RefusalCounts
    ) -> None:
        self._device = device
        self._work = work
        self._ledger = ledger
        self._refusals = refusals
        self._kept = KeptAnswers(device.home.path)
        self._logged: set[type[Exception]] = set()

    def reply(self, request: Request) -> Reply:
        """The signed answer to a request whose signature was checked.

        Raises:
            ProtocolError: MALFORMED, or VERSION; everything else is an answer.
        """
        question = PreflightQuestion.decode(request.body)
        try:
            code = self._judge(question, request.attempt)
        except Exception as error:  # noqa: BLE001 - told to the owner, and answered as a code
            code = code_of(error)
            if type(error) not in self._logged:  # once: whoever asks again makes no file grow
                self._logged.add(type(error))
                self._tell_fault(request.attempt, code, error)
        answer = PreflightAnswer(
            hashlib.sha256(request.body).digest(),
            code,
            self._about(code, request.attempt),
            VERSIONS.agree(question.versions),
        )
        device = self._device
        return make_reply(device.signer, device.pinned.agent_id, request, answer.encode())

    def _tell_fault(self, attempt: Attempt, code: RefusalCode, error: Exception) -> None:
        if is_ours(error):
            said = f"asked about a plan of {attempt.run_id}: would refuse ({code}): {advised(code, error)}"
            self._device.tell(said)
        else:
            log.error("a preflight failed", exc_info=error)

    def _judge(self, question: PreflightQuestion, attempt: Attempt) -> RefusalCode | None:
        """None for yes. Raises what an offer would be refused with, and what went wrong."""
        device = self._device
        device.home.accept_roster(
            question.roster_body, question.roster_signature, now=device.clock.wall()
        )
        installed_task(question)
        self._check_position(attempt)
        self._work.ready()
        self._ledger.check_echo(question.ledger_echo, attempt.run_id)
        plan, basis = question.plan_hash.hex(), self._basis()
        kept = self._kept.find(plan, basis)
        if kept is not None:
            return kept.code
        self._kept.begin(plan, device.clock.wall())
        code, why = self._verdict(question, attempt)
        self._kept.keep(plan, basis, code)
        self._tell(attempt, code, why)
        return code

    def _tell(self, attempt: Attempt, code: RefusalCode | None, why: str) -> None:
        """The owner hears of each verdict once, as of an offer's refusal."""
        device = self._device
        if code is None:
            device.on_status(f"asked about a plan of {attempt.run_id}: would take part")
            return
        where = f"{Asking.PREFLIGHT} of {attempt}"
        self._refusals.note(code, where=where, now=device.clock.wall())
        device.tell(
            f"asked about a plan of {attempt.run_id}: would refuse ({code}): {advised(code, why)}"
        )

    def _verdict(
        self, question: PreflightQuestion, attempt: Attempt
    ) -> tuple[RefusalCode | None, str]:
        device, entry = self._device, self._ledger.state.current
        try:
            plan = check_plan(
                question,
                attempt,
                pinned=device.pinned,
                policy=device.policy,
                dataset_id=device.dataset_id,
                model_hash=b"" if entry is None else entry.model_hash,
                load_task=device.load_task,
            )
            self._work.admit(plan, self._ledger)
        except VERDICTS as error:
            return code_of(error), str(error)
        return None, ""

    def _check_position(self, attempt: Attempt) -> None:
        """A coordinator whose database is older than this device would be refused in every round."""
        for last in (
            self._device.home.last_attempt(attempt.run_id),
            self._ledger.state.last_attempts.get(attempt.run_id),
        ):
            if last is not None and attempt <= last:
                raise ProtocolError(RefusalCode.ROUND_REPLAY, f"{attempt} is not after {last}")

    def _basis(self) -> str:
        """A digest of all that a verdict follows from beside the plan."""
        parts = (
            self._device.policy.hash(),
            self._ledger.state.hash,
            self._device.dataset_id.encode(),
            installed().get("edgeveil", "").encode(),
        )
        return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()

    def _about(self, code: RefusalCode | None, attempt: Attempt) -> bytes:
        """As beside an offer's refusal, but the declared size only where the owner lets figures be told."""
        if code is None:
            return b""
        if code is RefusalCode.POLICY_SIZE and self._device.policy.tell_budget:
            return u32(self._ledger.state.n_ref)
        return about_standing(code, self._device.home, attempt.run_id)
