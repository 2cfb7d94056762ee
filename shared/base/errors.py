"""Every error a user can meet, in one tree. A message says what, to what, which rule, what to do.

EdgeveilError                 abstract; carries its exit code
├── ConfigError               2   a file, key or flag is wrong
├── DataError                 65  the owner's data folder cannot be used
├── ModelError                65  a model package is damaged, or not one that is read here
│   └── ModelUntrusted        77  it is signed by somebody else than whom this device trusts
├── StateDamaged              65  ledger, database or key file unreadable: fail closed
├── TransportError            69  the other side cannot be reached
├── NotInstalled              69  a file that a task needs is absent, or another one than its hash says
├── Busy                      75  another process holds the state folder, or try again later
│   ├── StorageFailed         75  the disk took something not (full, quota): free space, then go on
│   └── StoreAway             75  the server of the coordinator's database does not answer
├── RunFailed                 75  a round aborted as often as the plan allows; it can be continued
│   ├── RunLost               65  agents have taken it further than the database; start a new one
│   ├── RunBehind             65  agents hold a newer roster than the database; import it first
│   ├── RunRefused            77  devices refuse the plan for a reason that lasts
│   └── RunClosed             2   its plan leads nowhere: diverged, or more repeated than it can pay for
├── EnrollmentError           77  not enrolled, token refused, revoked, superseded
├── PolicyRefusal             77  the device's policy says no; carries a RefusalCode
│   └── BudgetExhausted       77  the privacy budget is spent
└── ProtocolError             70  a message broke the protocol; blame says whose fault

Nothing data-dependent crosses the wire: a refusal is a value of RefusalCode, never a sentence.
"""

from enum import StrEnum
from typing import ClassVar, Self

from edgeveil.shared.base.exit_codes import ExitCode


class Blame(StrEnum):
    SELF = "self"
    PEER = "peer"


class RefusalCode(StrEnum):
    """The closed list an agent may answer with (protocol codes, then privacy codes)."""

    VERSION = "VERSION"
    COORDINATOR_UNKNOWN = "COORDINATOR_UNKNOWN"
    ROSTER_SIGNATURE = "ROSTER_SIGNATURE"
    ROSTER_STALE = "ROSTER_STALE"
    ROSTER_EXPIRED = "ROSTER_EXPIRED"
    NOT_MEMBER = "NOT_MEMBER"
    ROUND_REPLAY = "ROUND_REPLAY"
    POLICY_SECAGG = "POLICY_SECAGG"
    POLICY_VECTOR = "POLICY_VECTOR"
    TASK_UNKNOWN = "TASK_UNKNOWN"
    MODEL_INVALID = "MODEL_INVALID"
    CTX_MISMATCH = "CTX_MISMATCH"
    STATE = "STATE"
    U1_INVALID = "U1_INVALID"
    COHORT_TOO_SMALL = "COHORT_TOO_SMALL"
    GRAPH_MISMATCH = "GRAPH_MISMATCH"
    KEY_INVALID = "KEY_INVALID"
    ADVERT_SIGNATURE = "ADVERT_SIGNATURE"
    SHARE_AUTH = "SHARE_AUTH"
    U2_INVALID = "U2_INVALID"
    U3_INVALID = "U3_INVALID"
    QUORUM = "QUORUM"
    WINDOW = "WINDOW"
    EQUIVOCATION = "EQUIVOCATION"
    TIMEOUT = "TIMEOUT"
    UPDATE_NON_FINITE = "UPDATE_NON_FINITE"
    MALFORMED = "MALFORMED"
    BUDGET_EXHAUSTED = "BUDGET_EXHAUSTED"
    BUDGET_WOULD_EXCEED = "BUDGET_WOULD_EXCEED"
    LEDGER_LOCKED = "LEDGER_LOCKED"
    STORAGE_FAILED = "STORAGE_FAILED"
    LEDGER_CORRUPT = "LEDGER_CORRUPT"
    LEDGER_ROLLBACK = "LEDGER_ROLLBACK"
    DATASET_CHANGED = "DATASET_CHANGED"
    DATASET_UNKNOWN = "DATASET_UNKNOWN"
    POLICY_SIGMA = "POLICY_SIGMA"
    POLICY_SAMPLING = "POLICY_SAMPLING"
    POLICY_STEPS = "POLICY_STEPS"
    POLICY_CLIP = "POLICY_CLIP"
    POLICY_LR = "POLICY_LR"
    POLICY_DELTA = "POLICY_DELTA"
    POLICY_TASK = "POLICY_TASK"
    POLICY_COORDINATOR = "POLICY_COORDINATOR"
    POLICY_METRICS = "POLICY_METRICS"
    POLICY_COHORT = "POLICY_COHORT"
    POLICY_SIZE = "POLICY_SIZE"  # the declared size is not one the plan is for
    POLICY_DP = "POLICY_DP"  # the plan has no noise, and the owner has not said so
    POLICY_NOISE = "POLICY_NOISE"  # each device would add a share of the noise; not allowed here
    POLICY_WHEN = "POLICY_WHEN"  # the owner's rule on power and load says not now
    PREFLIGHT_LATER = "PREFLIGHT_LATER"  # too many plans were asked about in this hour; ask later
    MODEL_NOT_INDEPENDENT = "MODEL_NOT_INDEPENDENT"
    SELF_TEST_FAILED = "SELF_TEST_FAILED"
    INTERNAL = "INTERNAL"  # the agent failed by its own fault; details stay in its own log


class EdgeveilError(Exception):
    """Abstract root. `str(error)` is one sentence a user can act on."""

    exit_code: ClassVar[ExitCode] = ExitCode.BUG

    def __new__(cls, *_args: object, **_kwargs: object) -> Self:
        if cls is EdgeveilError:
            raise TypeError("EdgeveilError is abstract; raise one of its kinds")
        return super().__new__(cls)

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class ConfigError(EdgeveilError):
    exit_code = ExitCode.USAGE


class DataError(EdgeveilError):
    exit_code = ExitCode.DAMAGED


class ModelError(EdgeveilError):
    exit_code = ExitCode.DAMAGED


class ModelUntrusted(ModelError):
    exit_code = ExitCode.NOT_PERMITTED


class StateDamaged(EdgeveilError):
    exit_code = ExitCode.DAMAGED


class TransportError(EdgeveilError):
    exit_code = ExitCode.UNAVAILABLE


class NotInstalled(EdgeveilError):
    """`command` installs what is missing."""

    exit_code = ExitCode.UNAVAILABLE

    def __init__(self, message: str, command: str) -> None:
        super().__init__(f"{message}; run: {command}")
        self.command = command


class Busy(EdgeveilError):
    exit_code = ExitCode.TEMPORARY


class StorageFailed(Busy):
    """Nothing was lost: what could not be written had not begun."""


class StoreAway(Busy):
    """Nothing was lost: the run goes on from what was committed."""


class RunFailed(EdgeveilError):
    exit_code = ExitCode.TEMPORARY


class RunLost(RunFailed):
    exit_code = ExitCode.DAMAGED


class RunBehind(RunFailed):
    exit_code = ExitCode.DAMAGED


class RunRefused(RunFailed):
    exit_code = ExitCode.NOT_PERMITTED


class RunClosed(RunFailed):
    exit_code = ExitCode.USAGE


class EnrollmentError(EdgeveilError):
    exit_code = ExitCode.NOT_PERMITTED


class PolicyRefusal(EdgeveilError):
    """The device says no. `code` may cross the wire, `message` stays on the device."""

    exit_code = ExitCode.NOT_PERMITTED

    def __init__(self, code: RefusalCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class BudgetExhausted(PolicyRefusal):
    pass


class ProtocolError(EdgeveilError):
    """A message that the protocol forbids. `code` may cross the wire, `message` may not."""

    exit_code = ExitCode.BUG

    def __init__(self, code: RefusalCode, message: str, *, blame: Blame = Blame.PEER) -> None:
        super().__init__(message)
        self.code = code
        self.blame = blame
