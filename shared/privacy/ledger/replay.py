"""From records to LedgerState: which record may follow which, every claimed figure recomputed."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from edgeveil.shared.privacy import counting
from edgeveil.shared.privacy.filter import cap, choose_order
from edgeveil.shared.privacy.ledger.records import Fault, Kind, LedgerDamaged, Record
from edgeveil.shared.privacy.ledger.state import Entry, LedgerState, Limits, Phase, policy_hash
from edgeveil.shared.privacy.rdp import (
    LOWEST_ORDER,
    ORDERS,
    Segment,
    curve,
    rdp_step,
    rdp_total,
    to_epsilon,
)
from edgeveil.shared.wire.messages import Attempt

TOLERANCE = 1e-9  # relative; another platform's logarithm may differ in the last digits


@dataclass(slots=True)
class Grown:
    """What of a state grows with its ledger, changed in place while records are added up.

    Copied for each record, it would make a ledger of n kinds of step cost n² operations.
    """

    history: tuple[Segment, ...]  # before these records; what sums show beside it
    sum_history: tuple[Segment, ...]
    charged: list[tuple[Segment, Segment]]  # by these records
    divergence: npt.NDArray[np.float64]
    sum_divergence: npt.NDArray[np.float64]
    last_attempts: dict[str, Attempt]
    anchors: set[str]

    @classmethod
    def of(cls, state: LedgerState) -> Self:
        alone, summed = (
            np.array(spent or [0.0] * len(ORDERS))
            for spent in (state.divergence, state.sum_divergence)
        )
        last, anchors = dict(state.last_attempts), set(state.anchors)
        return cls(state.history, state.sum_history, [], alone, summed, last, anchors)

    def charge(self, segment: Segment, summed: Segment) -> None:
        """Both costs of one round, which are the same unless its noise is in shares."""
        self.charged.append((segment, summed))
        self.divergence += float(segment.steps) * curve(*segment[:2])
        self.sum_divergence += float(summed.steps) * curve(*summed[:2])

    def sum_spent(self, order: int) -> float:
        """What sums have shown so far, at one of ORDERS."""
        return float(self.sum_divergence[order - LOWEST_ORDER])

    def forget_charges(self) -> None:
        self.history = self.sum_history = ()
        self.charged.clear()
        self.divergence[:] = self.sum_divergence[:] = 0.0

    def put_into(self, state: LedgerState) -> LedgerState:
        history = _joined(self.history, [alone for alone, _ in self.charged])
        sums = _joined(self.sum_history, [summed for _, summed in self.charged])
        return replace(
            state,
            history=history,
            sum_history=sums,
            divergence=tuple(self.divergence.tolist()) if history else (),
            sum_divergence=tuple(self.sum_divergence.tolist()) if sums else (),
            last_attempts=self.last_attempts,
            anchors=frozenset(self.anchors),
        )


def _joined(history: tuple[Segment, ...], charged: list[Segment]) -> tuple[Segment, ...]:
    """With the steps of equal (σ, q) in one; a single charge makes nothing of the others anew."""
    if not charged:
        return history
    if len(charged) == 1:
        (one,) = charged
        for at, (sigma, q, steps) in enumerate(history):
            if sigma == one.noise_multiplier and q == one.sample_rate:
                more = one._replace(steps=steps + one.steps)
                return (*history[:at], more, *history[at + 1 :])
        return (*history, one)
    found: dict[tuple[float, float], int] = {}
    for sigma, q, steps in (*history, *charged):
        found[sigma, q] = found.get((sigma, q), 0) + steps
    return tuple(Segment(*key, count) for key, count in found.items())


def replay(records: Iterable[Record]) -> LedgerState:
    """Fold verified records (shared.privacy.ledger.records.read_records) into the state.

    Raises:
        LedgerDamaged: no records, or at the first one that is not legal.
    """
    rest = iter(records)
    first = next(rest, None)
    if first is None:
        raise LedgerDamaged(Fault.CHAIN, 1, "the ledger is empty")
    return extend(opened(first), rest)


def advance(state: LedgerState, record: Record) -> LedgerState:
    """The state with `record` appended; raises as extend."""
    return extend(state, [record])


def extend(state: LedgerState, records: Iterable[Record]) -> LedgerState:
    """The state with `records` appended; what each costs does not grow with their number.

    Raises:
        LedgerDamaged: at the first that may not follow, or whose figures are not the recomputed ones.
    """
    grown = Grown.of(state)
    for record in records:
        state = _append(state, grown, record)
    return grown.put_into(state)


def _append(state: LedgerState, grown: Grown, record: Record) -> LedgerState:
    """All but what has grown."""
    if record.text("dataset_id") != state.dataset_id:
        raise LedgerDamaged(Fault.ORDER, record.seq, "it belongs to another dataset")
    try:
        changed = CHANGES[record.kind](state, grown, record)
    except (ValueError, OverflowError) as error:
        raise LedgerDamaged(Fault.ARITHMETIC, record.seq, str(error)) from error
    return replace(changed, seq=record.seq, hash=record.hash, sig=record.sig)


def opened(record: Record) -> LedgerState:
    """The state of a ledger of this one `open` record."""
    if record.kind is not Kind.OPEN:
        raise LedgerDamaged(Fault.ORDER, record.seq, "a ledger starts with an open record")
    alpha, n_ref = record.number("alpha"), record.number("n_ref")
    if alpha not in ORDERS or n_ref < 1:
        raise LedgerDamaged(Fault.ARITHMETIC, record.seq, "alpha or n_ref is out of range")
    history = counted(record.number("count_scale"), record.seq)
    limits = _limits(record, alpha)
    if limits.exempt or limits.epsilon_sum_max is not None:
        what = "without noise" if limits.exempt else "with noise in shares"
        raise LedgerDamaged(
            Fault.BUDGET, record.seq, f"opened {what}, which only a later record can allow"
        )
    return LedgerState(
        dataset_id=record.text("dataset_id"),
        unit=record.text("unit"),
        n_ref=n_ref,
        alpha=alpha,
        limits=limits,
        history=history,
        sum_history=history,
        rdp_spent=rdp_total(history, alpha),
        seq=record.seq,
        hash=record.hash,
        sig=record.sig,
    )


def counted(scale: int, seq: int) -> tuple[Segment, ...]:
    """What a ledger begins with: nothing if its owner declared n_ref (0), else one noisy count."""
    if scale and not counting.LEAST_SCALE <= scale <= counting.MOST_SCALE:
        raise LedgerDamaged(Fault.ARITHMETIC, seq, f"no count has noise of scale {scale}")
    return (counting.charged(scale),) if scale else ()


def attempt_of(record: Record) -> Attempt:
    return Attempt(record.text("run_id"), record.number("round"), record.number("attempt"))


def _limits(record: Record, alpha: int) -> Limits:
    policy = record.text("policy")
    if record.text("policy_hash") != policy_hash(policy).hex():
        raise LedgerDamaged(Fault.ARITHMETIC, record.seq, "policy_hash is not that of its policy")
    limits = Limits(record.real("epsilon_max"), record.real("delta"), record.real("cap"), policy)
    _equal(record, "cap", cap(limits.epsilon_max, limits.delta, alpha))
    return limits


def _equal(record: Record, name: str, expected: float) -> None:
    if not math.isclose(record.real(name), expected, rel_tol=TOLERANCE, abs_tol=1e-15):
        raise LedgerDamaged(
            Fault.ARITHMETIC,
            record.seq,
            f"{name} is {record.real(name):.9g}, recomputed {expected:.9g}",
        )


def _out_of_order(record: Record, why: str) -> LedgerDamaged:
    return LedgerDamaged(Fault.ORDER, record.seq, f"a {record.kind} record {why}")


def _begun(grown: Grown, record: Record) -> tuple[Attempt, dict[str, bytes]]:
    """What begins with this record, after all earlier attempts of its run: the attempt, and what it is bound to."""
    attempt = attempt_of(record)
    last = grown.last_attempts.get(attempt.run_id)
    if last is not None and attempt <= last:
        raise _out_of_order(record, f"for {attempt} follows one for {last}")
    names = ("task_hash", "model_hash", "plan_hash")
    return attempt, {name: bytes.fromhex(record.text(name)) for name in names}


def _reserve(state: LedgerState, grown: Grown, record: Record) -> LedgerState:
    """A round whose sum shows no less than its update does."""
    segment = _segment(record)
    return _charged(state, grown, record, segment)


def _shared(state: LedgerState, grown: Grown, record: Record) -> LedgerState:
    """A round with noise in shares: one record, so that no cut between two can leave out either cost."""
    honest, segment = record.number("honest"), _segment(record)
    if state.limits.epsilon_sum_max is None:
        raise LedgerDamaged(
            Fault.BUDGET,
            record.seq,
            "noise in shares, which the policy then in force did not allow",
        )
    if segment.steps != 1 or honest < 2:
        raise ValueError(f"{segment.steps} steps with {honest} honest shares are not accounted for")
    if record.number("sum_alpha") != state.sum_alpha:
        raise ValueError(f"sum_alpha is {record.number('sum_alpha')}, fixed at {state.sum_alpha}")
    summed = Segment(record.real("sum_sigma"), segment.sample_rate, 1)
    _equal(record, "sum_sigma", segment.noise_multiplier * math.sqrt(honest))
    step = rdp_step(summed.noise_multiplier, summed.sample_rate, state.sum_alpha)
    spent = grown.sum_spent(state.sum_alpha) + step
    _equal(record, "sum_rdp_step", step)
    _equal(record, "sum_rdp_spent", spent)
    _equal(record, "sum_epsilon_enforced", to_epsilon(spent, state.sum_alpha, state.delta))
    changed = _charged(state, grown, record, segment, summed)
    return replace(changed, shared=state.shared + 1)


def _sums_admit(state: LedgerState, grown: Grown, summed: Segment) -> bool:
    sigma, q, steps = summed
    return steps <= state.sum_steps_left(sigma, q, grown.sum_spent(state.sum_alpha))


def _segment(record: Record) -> Segment:
    return Segment(record.real("sigma"), record.real("q"), record.number("steps_planned"))


def _charged(
    state: LedgerState,
    grown: Grown,
    record: Record,
    segment: Segment,
    summed: Segment | None = None,
) -> LedgerState:
    attempt, hashes = _begun(grown, record)
    step = state.rdp_step(segment.noise_multiplier, segment.sample_rate)
    spent = state.rdp_spent + segment.steps * step
    _equal(record, "rdp_step", step)
    _equal(record, "rdp_spent", spent)
    _equal(record, "epsilon_enforced", to_epsilon(spent, state.alpha, state.delta))
    if not state.admits(segment):
        raise LedgerDamaged(
            Fault.BUDGET, record.seq, f"spends {spent:.9g} of a cap of {state.cap:.9g}"
        )
    summed = summed or segment
    if state.sum_alpha and not _sums_admit(state, grown, summed):
        raise LedgerDamaged(
            Fault.BUDGET, record.seq, f"lets sums show more than epsilon_sum_max allows ({summed})"
        )
    entry = Entry(attempt, Phase.RESERVED, segment.steps, **hashes)
    grown.charge(segment, summed)
    grown.last_attempts[attempt.run_id] = attempt
    charged = state.rounds_charged + 1
    return replace(state, rdp_spent=spent, rounds_charged=charged, current=entry)


def _unlimited(state: LedgerState, grown: Grown, record: Record) -> LedgerState:
    """A round without noise: nothing is added to a sum that no longer bounds anything, and that stays so."""
    attempt, hashes = _begun(grown, record)
    if not state.limits.without_noise(record.text("coordinator_id")):
        raise LedgerDamaged(
            Fault.BUDGET, record.seq, "without noise, which the policy then in force did not allow"
        )
    entry = Entry(attempt, Phase.RESERVED, record.number("steps_planned"), **hashes)
    grown.last_attempts[attempt.run_id] = attempt
    return replace(
        state,
        rounds_charged=state.rounds_charged + 1,
        unlimited=state.unlimited + 1,
        current=entry,
    )


def _seal(state: LedgerState, _grown: Grown, record: Record) -> LedgerState:
    entry = state.current
    if entry is None or entry.phase is not Phase.RESERVED or attempt_of(record) != entry.attempt:
        raise _out_of_order(record, "needs an open reservation of the same attempt")
    if not 0 <= record.number("steps_done") <= entry.steps:
        raise LedgerDamaged(Fault.ARITHMETIC, record.seq, "more steps done than reserved")
    blob = bytes.fromhex(record.text("blob_sha256"))
    return replace(state, current=replace(entry, phase=Phase.SEALED, blob_sha256=blob))


def _submit(state: LedgerState, grown: Grown, record: Record) -> LedgerState:
    """The attempt may be a later one of the same round: the same sealed update, masked afresh."""
    entry, attempt = state.current, attempt_of(record)
    if entry is None or entry.phase is not Phase.SEALED:
        raise _out_of_order(record, "needs a sealed update that was never submitted")
    same_round = (attempt.run_id, attempt.round) == (entry.attempt.run_id, entry.attempt.round)
    if not same_round or attempt < entry.attempt:
        raise _out_of_order(record, f"for {attempt} follows a seal for {entry.attempt}")
    if record.text("blob_sha256") != entry.blob_sha256.hex():
        raise _out_of_order(record, "names another update than the sealed one")
    ctx = bytes.fromhex(record.text("ctx"))
    grown.last_attempts[attempt.run_id] = attempt
    return replace(state, current=replace(entry, phase=Phase.SUBMITTED, attempt=attempt, ctx=ctx))


def _ack(state: LedgerState, _grown: Grown, record: Record) -> LedgerState:
    entry = state.current
    if entry is None or entry.phase is not Phase.SUBMITTED or attempt_of(record) != entry.attempt:
        raise _out_of_order(record, "needs a submitted update of the same attempt")
    return replace(state, current=replace(entry, phase=Phase.DONE))


def _policy(state: LedgerState, _grown: Grown, record: Record) -> LedgerState:
    """The first policy that allows noise in shares fixes the order of their filter, for the ledger's whole life."""
    limits, order = _limits(record, state.alpha), state.sum_alpha
    if limits.epsilon_sum_max is not None and not order:
        order = choose_order(limits.epsilon_sum_max, limits.delta)
    return replace(state, limits=limits, sum_alpha=order)


def _reset(state: LedgerState, grown: Grown, _record: Record) -> LedgerState:
    """The owner's explicit decision to start counting again; reports show how often.

    What was done without noise was never counted, and stays.
    """
    grown.forget_charges()
    return replace(state, rdp_spent=0.0, shared=0, current=None, resets=state.resets + 1)


def _anchor(state: LedgerState, grown: Grown, record: Record) -> LedgerState:
    if record.number("echo_seq") > state.seq:
        raise _out_of_order(record, "anchors a head this ledger had not reached")
    grown.anchors.add(record.text("run_id"))
    return state


def _open_again(_state: LedgerState, _grown: Grown, record: Record) -> LedgerState:
    raise _out_of_order(record, "stands only at the start")


CHANGES: dict[Kind, Callable[[LedgerState, Grown, Record], LedgerState]] = {
    Kind.OPEN: _open_again,
    Kind.RESERVE: _reserve,
    Kind.SHARED: _shared,
    Kind.UNLIMITED: _unlimited,
    Kind.SEAL: _seal,
    Kind.SUBMIT: _submit,
    Kind.ACK: _ack,
    Kind.POLICY: _policy,
    Kind.RESET: _reset,
    Kind.ANCHOR: _anchor,
}
