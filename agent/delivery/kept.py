"""The models in a device's home: a file each in `models`, and an index that says which is in use.

The index is replaced in one piece, after the files that it names are on the disk: whatever dies when, the
model in use is a whole one. The one before it is kept, so that there is always a way back.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgeveil.shared.base.errors import ConfigError, StateDamaged, StorageFailed
from edgeveil.shared.base.files import private_directory, write_atomic
from edgeveil.shared.models.offer import Digest
from edgeveil.shared.models.origin import Derived
from edgeveil.shared.models.package import Package

FOLDER, INDEX, LOCK = "models", "index.json", "lock"
MOST_KEPT = 4  # files, with the one in use and the one before it
_STRICT = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Kept(BaseModel):
    """`vouched`: the coordinator or a key of --trust signed it. `judged`: the checks of receiving.py are done; `note`:
    why it is not used, for the owner alone, "" if nothing is wrong.
    """

    model_config = _STRICT

    model: Digest
    signer: Digest
    vouched: bool
    task: str
    run: str
    round: int
    finished: int  # Unix seconds, when its round was committed
    privacy: str
    size: int
    serial: int | None = None  # of its offer; None for a file of the owner's
    judged: bool = False
    note: str = ""
    parent: Digest | None = None  # of what it was made of on this device
    made: str = ""

    @property
    def published(self) -> str:
        """What a coordinator may be told is in use: what was made here says something of the records here."""
        return self.parent or self.model


class Index(BaseModel):
    """`fetched`: the highest serial that was fetched; no offer at or below it is taken."""

    model_config = _STRICT

    fetched: Annotated[int, Field(ge=0)] = 0
    in_use: Digest | None = None
    before: Digest | None = None
    models: tuple[Kept, ...] = ()

    def find(self, model: str | None) -> Kept | None:
        return next((each for each in self.models if each.model == model), None)


class KeptModels:
    """Used by several processes at once: each change is made under a lock, each look reads the index anew."""

    def __init__(self, home: Path) -> None:
        self.folder = home / FOLDER

    @property
    def index_path(self) -> Path:
        return self.folder / INDEX

    def index(self) -> Index:
        """Raises StateDamaged."""
        try:
            return Index.model_validate_json(self.index_path.read_bytes())
        except FileNotFoundError:
            return Index()
        except (ValidationError, OSError) as error:
            raise StateDamaged(
                f"{self.index_path}: damaged; remove the folder {self.folder} and get the model again: agent model get"
            ) from error

    def path(self, model: str) -> Path:
        return self.folder / f"{model}.evm"

    def in_use(self) -> Kept:
        """Raises ConfigError if there is none."""
        index = self.index()
        found = index.find(index.in_use)
        if found is None:
            raise ConfigError(f"{self.folder}: no model is in use; agent model get fetches one")
        return found

    def called(self, name: str) -> Kept:
        """The one whose name begins so, with 8 digits or more; raises ConfigError."""
        found = [each for each in self.index().models if len(name) >= 8 and each.model.startswith(name)]  # fmt: skip
        if len(found) != 1:
            raise ConfigError(f"no model here is called {name!r}; agent model list shows them")
        return found[0]

    def add(
        self, package: Package, data: bytes, *, vouched: bool, serial: int | None = None
    ) -> Kept:
        """Keep the bytes of a checked package, whose offer is then fetched; raises StorageFailed."""
        manifest = package.manifest
        made = Kept(
            model=package.digest,
            signer=package.signer.hex(),
            vouched=vouched,
            task=f"{manifest.task.id} {manifest.task.version}",
            run=manifest.origin.run,
            round=manifest.origin.round,
            finished=manifest.origin.finished,
            privacy=manifest.privacy.said,
            size=len(data),
            serial=serial,
            parent=None if manifest.derived is None else manifest.derived.parent,
            made="" if manifest.derived is None else _made(manifest.derived),
        )
        with self._changing() as index:
            self._write(self.path(package.digest), data)
            others = [each for each in index.models if each.model != made.model]
            changes = {"models": (*others, made), "fetched": max(serial or 0, index.fetched)}
            self._save(_pruned(index.model_copy(update=changes)))
        return made

    def note_fetched(self, serial: int) -> None:
        """Nothing came of it: this offer is never asked for again."""
        with self._changing() as index:
            self._save(index.model_copy(update={"fetched": max(serial, index.fetched)}))

    def use(self, model: str) -> Kept:
        """From now on; the one in use is the one before. Raises ConfigError if it is not kept."""
        with self._changing() as index:
            if index.find(model) is None:
                raise ConfigError(f"no model here is called {model[:12]}; agent model list shows them")  # fmt: skip
            before = index.before if model == index.in_use else index.in_use
            changed = index.model_copy(update={"in_use": model, "before": before})
            self._save(_noted(changed, model, ""))
        return self.in_use()

    def refuse(self, model: str, note: str) -> None:
        """It is kept and not used; `note` is for the owner alone."""
        with self._changing() as index:
            self._save(_noted(index, model, note))

    def roll_back(self, note: str) -> Kept:
        """The one before is in use again; raises ConfigError if there is none."""
        with self._changing() as index:
            if index.find(index.before) is None:
                raise ConfigError(f"{self.folder}: there is no model from before to go back to")
            changed = index.model_copy(update={"in_use": index.before, "before": None})
            self._save(changed if index.in_use is None else _noted(changed, index.in_use, note))
        return self.in_use()

    @contextlib.contextmanager
    def _changing(self) -> Iterator[Index]:
        private_directory(self.folder)
        with held(self.folder / LOCK):
            yield self.index()

    def _save(self, index: Index) -> None:
        """Then without files that nothing names."""
        self._write(self.index_path, index.model_dump_json().encode())
        known = {self.path(each.model) for each in index.models}
        for path in self.folder.glob("*.evm*"):
            if path not in known:
                path.unlink(missing_ok=True)

    @staticmethod
    def _write(path: Path, data: bytes) -> None:
        try:
            write_atomic(path, data)
        except OSError as error:
            raise StorageFailed(
                f"{path}: cannot be written ({error.strerror}); the model in use stays"
            ) from error


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """An flock that waits for its turn: whoever holds it is at work for moments, or fetches."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _made(derived: Derived) -> str:
    stays = "; calibrated on local data: stays here" if derived.calibrated else ""
    return f"{derived.made}, made here{stays}"


def _noted(index: Index, model: str, note: str) -> Index:
    models = tuple(
        each.model_copy(update={"judged": True, "note": note}) if each.model == model else each
        for each in index.models
    )
    return index.model_copy(update={"models": models})


def _pruned(index: Index) -> Index:
    """The newest ones, and always those in use and before."""
    fixed = {index.in_use, index.before}
    free = [each for each in index.models if each.model not in fixed]
    room = MOST_KEPT - (len(index.models) - len(free))
    gone = {each.model for each in free[: max(0, len(free) - room)]}
    return index.model_copy(update={"models": tuple(each for each in index.models if each.model not in gone)})  # fmt: skip
