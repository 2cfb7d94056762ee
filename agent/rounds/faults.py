"""What of an error may cross the wire: a code of the closed list and, of a few, where this device stands."""

import errno

from edgeveil.agent.home.home import AgentHome
from edgeveil.shared.base.errors import (
    Busy,
    DataError,
    EdgeveilError,
    NotInstalled,
    PolicyRefusal,
    ProtocolError,
    RefusalCode,
    StateDamaged,
    StorageFailed,
)
from edgeveil.shared.secagg.primitives.canonical import u64
from edgeveil.shared.secagg.primitives.errors import SecaggError
from edgeveil.shared.wire.messages import VERSIONS

DISK_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG}

FAULTS: tuple[tuple[type[Exception], RefusalCode], ...] = (
    (StorageFailed, RefusalCode.STORAGE_FAILED),  # before Busy, whose kind it is
    (Busy, RefusalCode.LEDGER_LOCKED),
    (StateDamaged, RefusalCode.LEDGER_CORRUPT),
    (DataError, RefusalCode.DATASET_UNKNOWN),
    (NotInstalled, RefusalCode.TASK_UNKNOWN),
)


def is_ours(error: Exception) -> bool:
    """Whether it is an error that says what is wrong, and no fault of the program's."""
    return isinstance(error, EdgeveilError | SecaggError)


def code_of(error: Exception) -> RefusalCode:
    """For a verdict its own code, for a fault of this device the one that says so."""
    if isinstance(error, PolicyRefusal | ProtocolError):
        return error.code
    if isinstance(error, SecaggError):
        return RefusalCode(error.code)
    for kind, code in FAULTS:
        if isinstance(error, kind):
            return code
    disk = isinstance(error, OSError) and error.errno in DISK_FAULTS
    return RefusalCode.STORAGE_FAILED if disk else RefusalCode.INTERNAL


def about_standing(code: RefusalCode, home: AgentHome, run_id: str) -> bytes:
    """What a refusal says beside codes that compare both sides' standing, as REFUSAL_BYTES allows."""
    match code:
        case RefusalCode.VERSION:
            return VERSIONS.encode()
        case RefusalCode.ROUND_REPLAY:
            last = home.last_attempt(run_id)
            return b"" if last is None else last.position()
        case RefusalCode.ROSTER_STALE:
            known = home.roster()
            return b"" if known is None else u64(known.roster.epoch)
        case _:
            return b""
