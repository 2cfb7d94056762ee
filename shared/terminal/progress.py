"""One bar for all long work: on a terminal, on standard error, once the work has taken half a second.

Nothing is written into pipes and files, and nothing when the caller is quiet or prints JSON.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from edgeveil.shared.pages.text import harmless
from edgeveil.shared.terminal.console import stderr

if TYPE_CHECKING:
    from rich.progress import Progress

Step = Callable[[int], None]  # so much more is done
T = TypeVar("T")
PATIENCE_S = 0.5  # work that ends sooner shows no bar


def silent(_done: int) -> None:
    """For whoever looks after no bar."""


@contextmanager
def progress(what: str, total: int | None = None, *, quiet: bool = False) -> Iterator[Step]:
    """Call what it gives with the amount newly done; without `total` the bar only moves."""
    if quiet or not stderr.is_terminal:
        yield silent
        return
    bar = _Bar(what, total)
    try:
        yield bar.step
    finally:
        bar.close()


def counted(items: Iterable[T], step: Step) -> Iterator[T]:
    """The same items; each counts as done when the next one is asked for."""
    for item in items:
        yield item
        step(1)


class _Bar:
    def __init__(self, what: str, total: int | None) -> None:
        self._what, self._total = harmless(what), total
        self._done, self._started = 0, time.monotonic()
        self._shown: Progress | None = None

    def step(self, done: int) -> None:
        self._done += done
        if self._shown is None and time.monotonic() - self._started >= PATIENCE_S:
            self._shown = self._open()
        if self._shown is not None:
            self._shown.update(self._shown.task_ids[0], completed=self._done)

    def close(self) -> None:
        if self._shown is not None:
            self._shown.stop()

    def _open(self) -> "Progress":
        from rich import progress as bars  # noqa: PLC0415 - only when there is something to wait for

        columns = (
            bars.TextColumn("{task.description}", markup=False),
            bars.BarColumn(20),
            bars.TaskProgressColumn(),
            bars.TimeRemainingColumn(),
        )
        shown = bars.Progress(*columns, console=stderr, transient=True)
        shown.add_task(self._what, total=self._total)
        shown.start()
        return shown
