"""One lane's way out: a thread that delivers what waits, oldest first, and waits longer the longer nobody takes it."""

import random
import threading
import time
from collections.abc import Callable, Sequence

from edgeveil.agent.forwarding.outbox import Entry, Outbox
from edgeveil.agent.forwarding.trusted import Refused, Undelivered
from edgeveil.shared.base.errors import EdgeveilError

FIRST_S, LONGEST_S = 1.0, 300.0  # between two tries; each is drawn from half of it to all of it
IDLE_S = 60.0

Say = Callable[[str], None]


class Courier:
    """`deliver` takes up to `batch` entries at once, all or none; what is older than `expires_s` is given up."""

    def __init__(
        self,
        outbox: Outbox,
        lane: str,
        deliver: Callable[[Sequence[Entry]], None],
        say: Say,
        *,
        batch: int = 1,
        expires_s: float | None = None,
    ) -> None:
        self._outbox, self._lane, self._deliver, self._say = outbox, lane, deliver, say
        self._batch, self._expires_s = batch, expires_s
        self._stopping, self._awake = threading.Event(), threading.Event()
        self._failures = 0
        self._unmarked: list[
            tuple[Sequence[Entry], str]
        ] = []  # delivered, which the disk does not know yet
        self._thread = threading.Thread(target=self._run, name=lane, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Something new waits. It does not end a pause after a failure."""
        self._awake.set()

    def stop(self) -> None:
        """Begin nothing new."""
        self._stopping.set()
        self._awake.set()

    def join(self, within_s: float) -> None:
        """After stop(): a delivery under way may end within so long, and is repeated later if it does not."""
        self._thread.join(max(0.0, within_s))

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._awake.clear()
            try:
                self._mark()
                found = self._in_time(self._outbox.take(self._lane, self._batch))
                if not found:
                    self._awake.wait(IDLE_S)
                    continue
                self._hand_over(found)
                if self._failures:
                    self._say(f"{self._lane}: delivered again")
                self._failures = 0
            except (Undelivered, EdgeveilError) as error:  # the latter of the disk
                self._pause(str(error))

    def _in_time(self, found: list[Entry]) -> list[Entry]:
        if self._expires_s is None:
            return found
        oldest = time.time() - self._expires_s
        late = [each for each in found if each.at < oldest]
        if late:
            self._outbox.done(late, "expired")
            self._say(f"{self._lane}: not delivered within {self._expires_s:g} s, and given up")
        return [each for each in found if each.at >= oldest]

    def _hand_over(self, found: list[Entry]) -> None:
        """Where the other side refuses several at once, one by one: the others are not lost with a bad one."""
        try:
            self._deliver(found)
        except Refused as refused:
            if len(found) > 1:
                for each in found:
                    self._hand_over([each])
                return
            self._unmarked.append((found, "refused"))
            self._say(f"{self._lane}: not tried again: {refused}")
        else:
            self._unmarked.append((found, "sent"))
        self._mark()

    def _mark(self) -> None:
        """What a full disk did not let us note is not delivered once more for that."""
        while self._unmarked:
            self._outbox.done(*self._unmarked[0])
            del self._unmarked[0]

    def _pause(self, why: str) -> None:
        """Told once, not at every try."""
        if not self._failures and not self._stopping.is_set():
            self._say(f"{self._lane}: not delivered ({why}); kept, and tried again")
        pause = min(LONGEST_S, FIRST_S * 2 ** min(self._failures, 20))
        self._failures += 1
        self._stopping.wait(pause * random.SystemRandom().uniform(0.5, 1))
