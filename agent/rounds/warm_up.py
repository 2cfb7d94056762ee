"""The session, made in the background: torch and opacus take seconds to import, connecting does not.

So a restarted agent is back on the line at once, and the first offer waits for the import instead of
the connection (docs/transport.md, "Agent").
"""

import contextlib
import threading
from typing import TYPE_CHECKING

from edgeveil.agent.rounds.device import Device
from edgeveil.shared.base.errors import EdgeveilError
from edgeveil.shared.wire.messages import Reply, Request

if TYPE_CHECKING:
    from edgeveil.agent.rounds.session import Session

AFTER_S = 0.3  # loading a library holds the interpreter; the first poll is to leave before
_CLOSE_S = 5.0


class WarmSession:
    """agent.rounds.session.Session under the same names; `failed` is set when it cannot be made."""

    def __init__(self, device: Device, failed: threading.Event) -> None:
        self._device = device
        self._failed = failed
        self._begin = threading.Event()
        self._session: Session | None = None
        self.answering = threading.Lock()  # held while a request is answered
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._make, name="warm-up", daemon=True)
        self._thread.start()

    def begin(self) -> None:
        """Start importing; call it once connected. A request does so too."""
        self._begin.set()

    def handle(self, request: Request) -> Reply:
        """As Session.handle(); raises what making the session raised."""
        session = self._made()
        with self.answering:
            return session.handle(request)

    @property
    def size(self) -> int | None:
        """What this data set counts as; None before the session is made."""
        return None if self._session is None else self._session.size

    def accepted(self, reply: Reply) -> None:
        self._made().accepted(reply)

    def close(self) -> None:
        """Close the session. An import under way gets some seconds to end, as it cannot be cut."""
        if not self._begin.is_set():
            return  # the thread waits for an event and ends with the process
        self._thread.join(_CLOSE_S)
        if self._session is not None:
            self._session.close()

    def _made(self) -> "Session":
        self._begin.set()
        self._thread.join()
        if self._session is None:
            raise self.failure or RuntimeError("the session was not made")
        return self._session

    def _make(self) -> None:
        self._begin.wait()
        if self._failed.wait(AFTER_S):
            return
        try:
            from edgeveil.agent.rounds.session import Session  # noqa: PLC0415 - the point of this module

            self._session = Session(self._device)
            self._load_trainer()
        except BaseException as error:  # noqa: BLE001 - raised again by whoever runs the agent
            self.failure = error
            self._failed.set()

    def _load_trainer(self) -> None:
        """Not where the owner's rules let nothing train now; what is wrong with it is said where it is needed."""
        with contextlib.suppress(EdgeveilError, ImportError, OSError):
            self._device.may_train()
            self._device.trainer()
