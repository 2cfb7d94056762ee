"""The model that a service answers with, and how another takes its place."""

import threading
from collections.abc import Callable
from pathlib import Path

from edgeveil.agent.inference.runtime import Model
from edgeveil.shared.base.errors import EdgeveilError

LOOK_S = 0.5  # between two looks at the file

Say = Callable[[str], None]


class Slot:
    """The model in use. When `path` changes, a thread of its own opens the new one and puts it in its place:
    no request waits for that, and whoever has begun with the old one ends with it.
    """

    def __init__(self, path: Path, opened: Callable[[Path], Model], say: Say) -> None:
        self._path, self._opened, self._say = path, opened, say
        self._stamp = _stamp(path)
        self._model = opened(path)
        self.swapped, self.kept = 0, 0  # files that took its place, and that could not
        self._closed = threading.Event()
        threading.Thread(target=self._watch, name="model", daemon=True).start()

    def current(self) -> Model:
        return self._model

    def close(self) -> None:
        """Whatever is in use now stays."""
        self._closed.set()

    def _watch(self) -> None:
        while not self._closed.wait(LOOK_S):
            self._look()

    def _look(self) -> None:
        stamp = _stamp(self._path)
        if stamp in {self._stamp, None}:
            return
        self._stamp = stamp
        try:
            found = self._opened(self._path)
        except EdgeveilError as error:
            self.kept += 1
            self._say(f"{error.message}; the model from before stays in use")
            return
        if found.notice and found.signer != self._model.signer:  # nobody vouches for that key
            self.kept += 1
            self._say(
                f"{self._path}: signed by {found.signer.hex()}, not by the key of the model in use; that one "
                "stays. To change the signer, start anew with --trust KEY"
            )
        elif found.digest != self._model.digest:
            self._model = found
            self.swapped += 1
            self._say(f"{self._path}: now serving model {self._model.digest}")


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
