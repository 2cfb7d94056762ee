"""The six steps of one round on the ledger, and what a restart makes of an interrupted one.

Folder: ledger.jsonl, ledger.lock, and sealed.bin, the noisy unmasked update between seal and ack.
Spent from `reserve` on, never refunded. An update is submitted at most once: after `submit` it is
gone, even if nobody received it (docs/design.md, "Privacy").
"""

import hashlib
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from edgeveil.agent.home.policy import Policy
from edgeveil.agent.home.policy_changes import loosened
from edgeveil.agent.home.size import Size, unlike
from edgeveil.agent.ledger.fields import (
    anchor_fields,
    attempt_fields,
    delta_too_large,
    limit_fields,
    open_fields,
    reserve_fields,
    shared_fields,
    unlimited_fields,
)
from edgeveil.agent.ledger.file import LEDGER, LedgerFile, ledger_records, read_ledger
from edgeveil.agent.ledger.guard import Question, Reservation, reusable
from edgeveil.agent.ledger.index import note_opened
from edgeveil.agent.ledger.reading import BLOB, check_never_opened
from edgeveil.shared.base.clock import Clock
from edgeveil.shared.base.errors import (
    Blame,
    BudgetExhausted,
    ConfigError,
    PolicyRefusal,
    ProtocolError,
    RefusalCode,
    StorageFailed,
)
from edgeveil.shared.base.failpoints import Failpoint, failpoint
from edgeveil.shared.base.files import (
    exclusive_lock,
    fsync_directory,
    private_directory,
    write_atomic,
)
from edgeveil.shared.privacy.ledger.heads import SignedHead, ToldBudget, dataset_tag
from edgeveil.shared.privacy.ledger.records import Kind, Value
from edgeveil.shared.privacy.ledger.state import Entry, LedgerState, Phase
from edgeveil.shared.wire.identity import Signer
from edgeveil.shared.wire.messages import Attempt

__all__ = ["LedgerStore", "ledger_records", "read_ledger"]

LOCK = "ledger.lock"


class LedgerStore:
    """The one writer of a ledger; methods may be called from any thread. Close it, or use `with`."""

    def __init__(
        self, folder: Path, file: LedgerFile, lock: ExitStack, *, tells_budget: bool
    ) -> None:
        self._folder = folder
        self._tells_budget = tells_budget
        self._file = file
        self._lock = lock
        self._other_size: str | None = None  # what to tell whoever declared another n_ref since
        self.confirmed: tuple[
            str, ...
        ] = ()  # keys of policy.toml that allow more since this opening
        self._mutex = threading.RLock()
        self._echoed: tuple[str, SignedHead] | None = None  # of the newest offer that was checked

    @classmethod
    def create(
        cls,
        folder: Path,
        *,
        signer: Signer,
        dataset_id: str,
        size: Size,
        unit: str,
        policy: Policy,
        clock: Clock,
        accept_looser: bool = False,
    ) -> Self:
        """Lock the folder and begin a ledger in it; `size` and `unit` stay fixed from here on.

        What the size cost is spent with the first record. Every ledger begins with noise required, all of
        it by this device: that `policy` says otherwise is a second record, with `accept_looser` as in open().

        Raises:
            Busy: another process holds this ledger.
            LedgerDamaged: there was a ledger, and its file is gone.
            ConfigError: there is a ledger, delta does not fit n_ref, or rounds without noise are not
                confirmed.
        """
        path = folder / LEDGER
        with _locked(folder) as lock:
            if path.exists():
                raise ConfigError(f"{path}: there is a ledger already, and it cannot begin anew")
            strict = policy.model_copy(
                update={"dp_required": True, "without_noise_for": (), "shared_noise": None}
            )
            if (policy.exempt or policy.shared_noise) and not accept_looser:
                raise _unconfirmed(loosened(strict, policy))
            fields = open_fields(size, unit, strict)
            file = LedgerFile.create(path, signer, clock, dataset_id, fields)
            note_opened(folder, signer)
            store = cls(folder, file, lock, tells_budget=policy.tell_budget)
            store._adopt(policy, accept_looser=accept_looser)
            store._lock = lock.pop_all()
            return store

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        signer: Signer,
        dataset_id: str,
        unit: str,
        policy: Policy,
        clock: Clock,
        attempts: Mapping[str, Attempt],
        accept_looser: bool = False,
    ) -> Self:
        """Lock and verify; apply the restart rules; chain a changed policy.

        `attempts` are the newest of every run by the home's counters, which no ledger may be behind.
        `accept_looser` is the owner's explicit confirmation of a policy that allows more than the
        chained one.

        Raises:
            Busy: another process holds this ledger.
            LedgerDamaged: the ledger cannot be trusted, or its file is gone.
            PolicyRefusal: DATASET_CHANGED, the ledger belongs to another dataset.
            ConfigError: there never was a ledger, a loosened policy without confirmation, or unit
                or delta do not fit.
        """
        path = folder / LEDGER
        with _locked(folder) as lock:
            if not path.exists():
                check_never_opened(path, signer.public)
            file = LedgerFile.recover(path, signer, clock, attempts)
            note_opened(folder, signer)
            store = cls(folder, file, lock, tells_budget=policy.tell_budget)
            store._check_identity(dataset_id, unit)
            store._finish_interrupted()
            store._adopt(policy, accept_looser=accept_looser)
            store._other_size = unlike(policy, store.state.n_ref)
            store._lock = lock.pop_all()
        return store

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._lock.close()

    def watch_fsyncs(self, watch: Callable[[float], None] | None) -> None:
        """`watch` gets the seconds that each record from now on takes to reach the disk."""
        self._file.watch = watch

    @property
    def remarks(self) -> tuple[str, ...]:
        """What its owner should know of how it was found at the opening."""
        return (*self._file.remarks, *filter(None, [self._other_size]))

    @property
    def state(self) -> LedgerState:
        """Raises LedgerDamaged after a failed write."""
        return self._file.state

    def head(self) -> bytes:
        """The encoded SignedHead for the coordinator; tells the budget if the owner's policy says so."""
        state, signer = self.state, self._file.signer
        tag = dataset_tag(state.dataset_id, signer.public)
        told = None
        if self._tells_budget:
            told = ToldBudget(state.epsilon_enforced, state.epsilon_max, state.delta, state.resets)
        return SignedHead.make(tag, state.seq, state.hash, signer, told).encode()

    def check_echo(self, echo: bytes, run_id: str) -> None:
        """Insist that the head this device once sent is part of this ledger.

        Noted once per run, and not before a round of it is charged: a refused offer must leave no record,
        or a coordinator could make this file grow without end.

        An empty echo proves nothing and passes; so does the head of another dataset of this device.

        Raises:
            PolicyRefusal: LEDGER_ROLLBACK, the ledger was restored, cloned or replaced.
            ProtocolError: not a head, or one that this device never signed.
        """
        if not echo:
            return
        head = SignedHead.decode(echo)
        public = self._file.signer.public
        head.verify(public, "this device's ledger head")
        with self._mutex:
            state = self.state
            if head.dataset != dataset_tag(state.dataset_id, public):
                return
            if self._file.hash_at(head.seq) != head.hash:
                raise PolicyRefusal(
                    RefusalCode.LEDGER_ROLLBACK,
                    f"{self._file.path}: the coordinator holds record {head.seq} of this device's "
                    f"ledger, and this ledger of {state.seq} records does not contain it; it was "
                    "restored from a copy, or another device uses the same state",
                )
            self._echoed = (run_id, head)

    def reserve(self, reservation: Reservation) -> None:
        """Charge a round with noise: when this returns its steps are spent, whatever happens next.

        Noise in shares has two costs; both are in the one record that is written.

        Raises:
            BudgetExhausted: BUDGET_WOULD_EXCEED, decided again on the newest state.
        """
        question = reservation.question
        with self._mutex:
            self._give_up_submitted()
            state = self.state
            if not (state.admits(question.segment) and state.sum_admits(question.summed)):
                raise BudgetExhausted(
                    RefusalCode.BUDGET_WOULD_EXCEED,
                    f"{question.plan.charged_steps} steps do not fit beside epsilon "
                    f"{state.epsilon_counted:.4g} of {state.epsilon_max:.4g}",
                )
            if question.plan.shared_noise:
                self._begin(Kind.SHARED, shared_fields(reservation, state), question)
            else:
                self._begin(Kind.RESERVE, reserve_fields(reservation, state), question)

    def unlimited(self, reservation: Reservation) -> None:
        """Write down that a round without noise begins: from here on ε is not limited, whatever happens next.

        Raises:
            ProtocolError: STATE, the chained policy does not allow it.
        """
        with self._mutex:
            self._give_up_submitted()
            self._begin(Kind.UNLIMITED, unlimited_fields(reservation), reservation.question)

    def _begin(self, kind: Kind, fields: dict[str, Value], question: Question) -> None:
        self._note_echo(question.attempt.run_id)
        failpoint(Failpoint.AGENT_RESERVE_BEFORE)
        self._file.append(kind, fields)
        failpoint(Failpoint.AGENT_RESERVE_AFTER)
        self._drop_blob()

    def seal(self, attempt: Attempt, blob: bytes, *, steps_done: int, gradient_mode: str) -> None:
        """Keep the noisy update on disk, then record it; from here on it may be masked.

        Raises:
            StorageFailed: the disk is full; the reservation stays spent.
        """
        with self._mutex:
            self._expect(Phase.RESERVED, attempt)
            failpoint(Failpoint.AGENT_BLOB_BEFORE)
            try:
                write_atomic(self._folder / BLOB, blob)
            except OSError as error:
                raise StorageFailed(
                    f"{self._folder / BLOB}: cannot be written ({error.strerror})"
                ) from error
            failpoint(Failpoint.AGENT_BLOB_AFTER)
            fields: dict[str, Value] = {
                "steps_done": steps_done,
                "gradient_mode": gradient_mode,
                "blob_sha256": hashlib.sha256(blob).hexdigest(),
            }
            failpoint(Failpoint.AGENT_SEAL_BEFORE)
            self._file.append(Kind.SEAL, {**attempt_fields(attempt), **fields})
            failpoint(Failpoint.AGENT_SEAL_AFTER)

    def sealed_blob(self, reservation: Reservation) -> bytes | None:
        """The sealed, never submitted update that answers exactly this question, or None."""
        with self._mutex:
            entry = self.state.current
            if entry is None or not reusable(reservation.question, self.state):
                return None
            try:
                blob = (self._folder / BLOB).read_bytes()
            except FileNotFoundError:
                return None
            return blob if hashlib.sha256(blob).digest() == entry.blob_sha256 else None

    def submit(self, attempt: Attempt, ctx: bytes) -> None:
        """Record that the masked update leaves; call before it does. It never leaves again."""
        with self._mutex:
            blob = b"" if self.state.current is None else self.state.current.blob_sha256
            fields = {"blob_sha256": blob.hex(), "ctx": ctx.hex()}
            failpoint(Failpoint.AGENT_SUBMIT_BEFORE)
            self._file.append(Kind.SUBMIT, {**attempt_fields(attempt), **fields})
            failpoint(Failpoint.AGENT_SUBMIT_AFTER)

    def ack(self, attempt: Attempt, note: str = "accepted") -> None:
        """Record that the gateway took the last message of `attempt`, and forget the update.

        Repeated calls, and calls for an attempt that is already given up, change nothing.
        """
        with self._mutex:
            entry = self.state.current
            if entry is None or entry.phase is not Phase.SUBMITTED or entry.attempt != attempt:
                return
            self._acknowledge(entry, note)

    def reset(self, note: str) -> None:
        """Start counting at zero: the owner's explicit decision, shown in every later report."""
        with self._mutex:
            self._file.append(Kind.RESET, {"note_code": note})
            self._drop_blob()

    def _acknowledge(self, entry: Entry, note: str) -> None:
        failpoint(Failpoint.AGENT_ACK_BEFORE)
        self._file.append(Kind.ACK, {**attempt_fields(entry.attempt), "note_code": note})
        failpoint(Failpoint.AGENT_ACK_AFTER)
        self._drop_blob()

    def _expect(self, phase: Phase, attempt: Attempt) -> None:
        entry = self.state.current
        if entry is None or entry.phase is not phase or entry.attempt != attempt:
            raise ProtocolError(
                RefusalCode.STATE,
                f"{attempt} is not {phase.name.lower()} in the ledger",
                blame=Blame.SELF,
            )

    def _give_up_submitted(self) -> None:
        """A submitted update whose fate is unknown counts, and is never submitted again."""
        entry = self.state.current
        if entry is not None and entry.phase is Phase.SUBMITTED:
            self._acknowledge(entry, "unknown")

    def _finish_interrupted(self) -> None:
        self._give_up_submitted()
        entry = self.state.current
        if entry is None or entry.phase is not Phase.SEALED:
            self._drop_blob()

    def _note_echo(self, run_id: str) -> None:
        echoed, self._echoed = self._echoed, None
        if echoed is not None and echoed[0] == run_id and run_id not in self.state.anchors:
            self._file.append(Kind.ANCHOR, anchor_fields(*echoed))

    def _drop_blob(self) -> None:
        blob = self._folder / BLOB
        if blob.exists():
            blob.unlink()
            fsync_directory(self._folder)

    def _check_identity(self, dataset_id: str, unit: str) -> None:
        state = self.state
        if state.dataset_id != dataset_id:
            raise PolicyRefusal(
                RefusalCode.DATASET_CHANGED,
                f"{self._folder}: this ledger belongs to dataset {state.dataset_id!r}, not to "
                f"{dataset_id!r}; give each dataset its own ledger folder",
            )
        if state.unit != unit:
            raise ConfigError(
                f"policy.toml: unit {unit!r} differs from {state.unit!r}, for which this ledger "
                "was opened; it cannot change"
            )

    def _adopt(self, policy: Policy, *, accept_looser: bool) -> None:
        """Chain a changed policy; one that allows more needs the owner's word."""
        state = self.state
        if policy.delta * state.n_ref >= 1:
            raise delta_too_large(policy, state.n_ref)
        text = state.limits.policy_json
        if policy.to_json() == text:
            return
        try:
            looser = loosened(Policy.from_json(text), policy)
        except ConfigError:
            looser = ("a schema of another version",)
        if looser and not accept_looser:
            raise _unconfirmed(looser)
        fields = limit_fields(policy, state.alpha)
        note = "loosened" if looser else "tightened"
        self._file.append(Kind.POLICY, {"note_code": note, **fields})
        self.confirmed = looser


def _unconfirmed(looser: tuple[str, ...]) -> ConfigError:
    return ConfigError(
        f"policy.toml allows more than the policy chained in the ledger: {', '.join(looser)}"
        "; restore it, or confirm the change with: agent policy set KEY=VALUE --yes, or agent run --accept-policy"
    )


def _locked(folder: Path) -> ExitStack:
    """Holds the lock of this ledger until it is closed; raises Busy."""
    private_directory(folder)
    lock = ExitStack()
    lock.enter_context(exclusive_lock(folder / LOCK, held_by="agent run"))
    return lock
