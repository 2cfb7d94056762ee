"""Reading a ledger without its lock: every record verified, or the part a bookmark attests taken whole."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeveil.agent.ledger.index import INDEX, opened
from edgeveil.shared.base.errors import ConfigError, ProtocolError
from edgeveil.shared.privacy.ledger.bookmark import Bookmark, continued
from edgeveil.shared.privacy.ledger.records import (
    SUFFIX,
    Fault,
    LedgerDamaged,
    Record,
    read_records,
)
from edgeveil.shared.privacy.ledger.replay import replay
from edgeveil.shared.privacy.ledger.state import LedgerState
from edgeveil.shared.terminal.progress import counted, progress

LEDGER = "ledger.jsonl"
BOOKMARK = "ledger.bookmark"
BLOB = "sealed.bin"  # the noisy update between seal and ack
PRV = "prv.json"  # a figure computed from a ledger


@dataclass(frozen=True, slots=True)
class Verified:
    """`data` are the whole lines that `state` sums up; `tail` what a crash left after them."""

    state: LedgerState
    data: bytes = field(repr=False)
    tail: bytes = field(repr=False)
    marked: int  # the last record a bookmark attests, 0 without one

    def hashes(self) -> bytearray:
        """The hash of every record, 32 bytes each, in order."""
        lines = self.data.split(b"\n")
        lines.pop()
        hexes = b"".join(line[-SUFFIX - 64 : -SUFFIX] for line in lines)
        return bytearray.fromhex(hexes.decode("ascii"))

    def bodies(self) -> Iterator[dict[str, Any]]:
        """Bodies from the newest to the oldest, unchecked again."""
        end = len(self.data) - 1
        while end > 0:
            begin = self.data.rfind(b"\n", 0, end) + 1
            yield json.loads(self.data[begin:end])["body"]
            end = begin - 1

    def bodies_in_order(self) -> Iterator[dict[str, Any]]:
        """Bodies from the oldest to the newest, unchecked again."""
        for line in self.data.split(b"\n")[:-1]:
            yield json.loads(line)["body"]


def ledger_records(folder: Path, public: bytes, *, quiet: bool = True) -> list[Record]:
    """Every record, each verified, oldest first; an unfinished last line is left out.

    Unless `quiet`, a terminal shows how far it got.

    Raises:
        LedgerDamaged: a line cannot be trusted.
        ConfigError: there is no ledger.
    """
    return verified_records(read_lines(folder / LEDGER)[0], public, quiet=quiet)


def verified_records(whole: bytes, public: bytes, *, quiet: bool) -> list[Record]:
    """The records of complete lines; raises LedgerDamaged."""
    with progress("verifying records", whole.count(b"\n"), quiet=quiet) as step:
        return list(counted(read_records(whole, public), step))


def read_ledger(folder: Path, public: bytes) -> LedgerState:
    """The verified state; raises as ledger_records."""
    return read_verified(folder / LEDGER, public).state


def read_verified(path: Path, public: bytes) -> Verified:
    """Verify all records, or from the bookmark on.

    Raises:
        LedgerDamaged: a line cannot be trusted, or records that the bookmark attests are gone.
        ConfigError: there is no ledger.
    """
    mark = read_bookmark(path, public)  # first: a running agent only ever adds to what it attests
    whole, tail = read_lines(path)
    if mark is None:
        return Verified(replay(read_records(whole, public)), whole, tail, 0)
    return Verified(continued(mark, whole, public, path), whole, tail, mark.state.seq)


def read_bookmark(path: Path, public: bytes) -> Bookmark | None:
    """The bookmark beside the ledger at `path`; None if there is none or it is not this device's."""
    try:
        return Bookmark.decode(path.with_name(BOOKMARK).read_bytes(), public)
    except (OSError, ProtocolError):
        return None


def check_never_opened(path: Path, public: bytes) -> None:
    """Raise LedgerDamaged if something around `path`, where no ledger is, says that there was one.

    StateDamaged if the list of ledgers is not this device's.
    """
    left = [name for name in (BOOKMARK, BLOB, PRV) if path.with_name(name).exists()]
    if path.parent.name in opened(path.parent.parent, public):
        left.append(INDEX)
    if left:
        raise LedgerDamaged(
            Fault.CHAIN,
            1,
            f"{path}: this ledger is gone, although {left[0]} attests that there was one; what it had "
            "spent is unknown: put it back, or revoke the device and enrol it again from an empty home",
        )


def check_belongs(state: LedgerState, folder: Path) -> None:
    """Raise LedgerDamaged unless this is the ledger of the data set its folder is named after."""
    if state.dataset_id != folder.name:
        raise LedgerDamaged(
            Fault.CHAIN,
            1,
            f"{folder / LEDGER}: the ledger of another data set, {state.dataset_id!r}, is in the place "
            f"of the one of {folder.name!r}; put the right one back",
        )


def read_lines(path: Path) -> tuple[bytes, bytes]:
    """The complete lines, and what a crash left after them; raises ConfigError without a ledger."""
    try:
        data = path.read_bytes()
        keep = data.rfind(b"\n") + 1
        return data[:keep], data[keep:]
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no ledger yet; the first `agent run` opens it") from error
