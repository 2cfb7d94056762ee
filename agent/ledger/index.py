"""Which data sets of this device ever had a ledger: a signed list beside the ledgers' folders.

A ledger whose whole folder is lost leaves nothing inside it that could tell. With this list the device
refuses to begin another for that data set, whatever becomes of its other ledgers. Whoever can delete
the list as well is noticed by the head that the coordinator echoes, if it echoes honestly.
"""

import contextlib
from pathlib import Path

from edgeveil.shared.base.errors import ProtocolError, StateDamaged
from edgeveil.shared.base.files import write_atomic
from edgeveil.shared.privacy.ledger.note import read_note, sign_note
from edgeveil.shared.wire.identity import Signer

INDEX = "opened.json"
LABEL = "ledger-index"


def note_opened(folder: Path, signer: Signer) -> None:
    """Add the data set of this ledger folder; a full disk is no reason to stop, the next opening adds it.

    Raises:
        StateDamaged: the list was changed.
    """
    known = opened(folder.parent, signer.public)
    if folder.name in known:
        return
    note = sign_note(LABEL, {"datasets": sorted({*known, folder.name})}, signer)
    with contextlib.suppress(OSError):
        write_atomic(folder.parent / INDEX, note)


def opened(root: Path, public: bytes) -> frozenset[str]:
    """Names of the data sets that ever had a ledger under `root`; empty where no list was kept.

    Raises:
        StateDamaged: the list cannot be read, or this device did not write it.
    """
    path = root / INDEX
    try:
        fields = read_note(LABEL, path.read_bytes(), public, "list of ledgers")
        return frozenset(str(name) for name in fields["datasets"])
    except FileNotFoundError:
        return frozenset()
    except (ProtocolError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise StateDamaged(
            f"{path}: not the list of ledgers this device wrote ({error}); put it back from where it was "
            "changed, or revoke the device and enrol it again from an empty home"
        ) from error
