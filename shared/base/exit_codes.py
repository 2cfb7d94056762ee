"""The list of exit codes; documented in docs/operating.md. `agent verify` has 3 to 6 of its own."""

from enum import IntEnum


class ExitCode(IntEnum):
    DONE = 0
    USAGE = 2  # command line or configuration
    TOO_LITTLE_NOISE = 7  # `agent audit`: made-up records can be told apart
    DAMAGED = 65  # data, ledger or database damaged
    UNAVAILABLE = 69  # coordinator unreachable, or an extra is not installed
    BUG = 70  # ours; the only case with a traceback, and only in the log file
    TEMPORARY = 75  # busy; the same command works later
    NOT_PERMITTED = 77  # not enrolled, revoked, superseded, policy, budget
