"""Where simulated devices live: in this process, one message after another."""

import importlib
from collections import deque
from typing import Final, Protocol

from edgeveil.shared.flower import environment as flower_environment  # noqa: F401 - first: Flower reads its switches at import

# isort: split
from flwr.app import Context, Message
from flwr.clientapp import ClientApp

APP: Final = "edgeveil.agent.simulation.app:app"  # by name alone, as Flower names an app: roles never import each other


def load_app() -> ClientApp:
    """In the process of a worker."""
    module, _, name = APP.partition(":")
    app = getattr(importlib.import_module(module), name)
    if not isinstance(app, ClientApp):
        raise TypeError(f"{APP} is no ClientApp")
    return app


class Workers(Protocol):
    """A seat is the number of a device; all its messages are answered in one process, in their order."""

    @property
    def count(self) -> int:
        """Processes that work side by side."""

    def submit(self, seat: int, message: Message, context: Context) -> None: ...

    def collect(self, timeout_s: float) -> list[tuple[int, Message | None]]:
        """What was answered meanwhile; None for what no answer will come to: its process is gone."""

    def forget(self) -> None:
        """Nobody waits any more for what was submitted."""

    def close(self) -> None: ...


class LocalWorkers:
    """For few devices, and where no Ray is: collect() answers one message."""

    count = 1

    def __init__(self) -> None:
        self._app = load_app()
        self._queue: deque[tuple[int, Message, Context]] = deque()

    def submit(self, seat: int, message: Message, context: Context) -> None:
        self._queue.append((seat, message, context))

    def collect(self, timeout_s: float) -> list[tuple[int, Message | None]]:
        del timeout_s
        if not self._queue:
            return []
        seat, message, context = self._queue.popleft()
        return [(seat, self._app(message, context))]

    def forget(self) -> None:
        self._queue.clear()

    def close(self) -> None:
        self._queue.clear()
