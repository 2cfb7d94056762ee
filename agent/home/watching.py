"""A data folder that grows: looked at by the clock, read in the background, taken over between two answers.

Nothing here follows from an offer. When the folder is looked at says the clock alone; what an answer works
on was there when the request came; and no request waits, since taking over is one assignment. Whether a
record is used depends on that record, as at a start: none is left out for being old, new or one too many.
"""

import contextlib
import os
import threading
from collections.abc import Callable

from edgeveil.agent.home.data import DataShelf
from edgeveil.agent.home.records.usable import Summary
from edgeveil.shared.base.errors import EdgeveilError

EVERY_S = 300.0
NICENESS = 10  # of the thread that reads, beside one that trains


class Watcher:
    """`between` is held while a request is answered; `size` is the declared one, None while it is not known.

    `accept` looks at what was found and raises DataError where the device would not start with it.
    """

    def __init__(
        self,
        shelf: DataShelf,
        *,
        between: contextlib.AbstractContextManager[object],
        size: Callable[[], int | None],
        accept: Callable[[Summary], None],
        tell: Callable[[str], None],
        every_s: float = EVERY_S,
    ) -> None:
        self._shelf = shelf
        self._between = between
        self._size = size
        self._accept = accept
        self._tell = tell
        self._every_s = every_s
        self._refused = b""  # how the folder was when it could not be used
        self._told = ""

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set; a thread of its own, which gives way to others."""
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        while not stop.wait(self._every_s):
            self.look()

    def look(self) -> bool:
        """Whether other records are in use now. What cannot be used is told, and the former ones stay."""
        now = self._shelf.signature()
        if now in {self._shelf.seen, self._refused}:
            return False
        try:
            fresh = self._shelf.look_again()
            self._accept(fresh.summary)
        except EdgeveilError as error:
            self._refused = now
            self._say(f"the data folder has changed and cannot be used as it is; still with the former records: {error.message}")  # fmt: skip
            return False
        with self._between:
            self._shelf.take_over(fresh)
        self._say(f"data: {fresh.summary.sentence}")
        size, usable = self._size(), fresh.summary.usable
        if size is not None and usable > size:
            self._say(
                f"data: {usable} records, and this data set counts as {size}: all are used, each is protected "
                "as before, and the device's weight stays that of the declared size"
            )
        return True

    def _say(self, sentence: str) -> None:
        if sentence != self._told:
            self._told = sentence
            self._tell(sentence)
