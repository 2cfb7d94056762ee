"""Models that are offered to devices: one file each in the home's `published`, and an index that names them.

A file is on the disk before the index names it, and the index is replaced in one piece: after any crash a
model is published or it is not. Serials follow the clock, so that a coordinator restored from a backup goes on
above what devices have seen. No torch.
"""

import contextlib
import errno
import hashlib
import os
import threading
from collections.abc import Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from edgeveil.coordinator.models.verify import verify
from edgeveil.coordinator.plan.config import identity_path, load_config
from edgeveil.coordinator.store.store import Store
from edgeveil.shared.base.clock import Clock, SystemClock
from edgeveil.shared.base.errors import ConfigError, ModelError, StateDamaged
from edgeveil.shared.base.files import exclusive_lock, private_directory, write_atomic
from edgeveil.shared.models.manifest import Manifest
from edgeveil.shared.models.offer import Offer
from edgeveil.shared.models.package import parse_package
from edgeveil.shared.wire.identity import Identity

FOLDER, INDEX, LOCK = "published", "index.json", "lock"
MOST_KEPT = 8  # models offered at once, to whomever; the oldest ones end
_Stamp = tuple[int, int, int]  # of a file: size, inode, time of change


class Published(BaseModel):
    """`to`: agent ids in hex, None for every member; `at`: Unix seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    offer: Offer
    to: tuple[str, ...] | None
    at: float


class _Index(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    last: int = 0  # serial, also of a model that was withdrawn
    models: tuple[Published, ...] = ()


class ModelShelf:
    """What the gateway offers. Every method may be called from any thread, several at the same time.

    Packages stay on the disk: each is read once to see that it is whole, and after that in the slices asked for.
    """

    def __init__(self, home: Path) -> None:
        self._folder = home / FOLDER
        self._stamp: tuple[int, int] | None = None
        self._models: tuple[Published, ...] = ()
        self._whole: dict[
            int, _Stamp
        ] = {}  # files that were what their offers say, as they were then
        self._looking = threading.Lock()  # one at a time sums up a file
        self.reload()

    def reload(self) -> bool:
        """Look whether the index is another one; True if it was. Raises StateDamaged."""
        with self._looking:
            stamp = None
            with contextlib.suppress(FileNotFoundError):
                found = (self._folder / INDEX).stat()
                stamp = (found.st_ino, found.st_mtime_ns)
            if stamp == self._stamp:
                return False
            self._stamp = stamp  # also of a damaged one, so that it is told once
            self._models = _read(self._folder).models
            kept = {each.offer.serial for each in self._models}
            self._whole = {serial: mark for serial, mark in self._whole.items() if serial in kept}
            return True

    def offer_for(self, agent_id: bytes) -> Offer | None:
        """The newest one for this agent."""
        found = [each.offer for each in self._models if _meant(each, agent_id)]
        return found[-1] if found else None

    def part(self, agent_id: bytes, serial: int, at: int, size: int) -> bytes | None:
        """At most `size` bytes of the file from `at` on; None if it is not for this agent, damaged, or ends before."""
        for each in self._models:
            if each.offer.serial == serial and _meant(each, agent_id):
                with contextlib.suppress(OSError), _path(self._folder, serial).open("rb") as file:
                    self._check(file, each.offer)
                    return os.pread(file.fileno(), size, at) or None
        return None

    def _check(self, file: BufferedReader, offer: Offer) -> None:
        """Raise OSError unless the open file is the one that the offer names."""
        stamp = _stamp(file)
        with self._looking:
            if self._whole.get(offer.serial) == stamp:
                return
            whole = (
                stamp[0] == offer.size
                and hashlib.file_digest(file, "sha256").hexdigest() == offer.file
            )
            if not whole or _stamp(file) != stamp:
                raise OSError(errno.EIO, "a published file is not what it was")
            self._whole[offer.serial] = stamp


def publish(
    home: Path, file: Path, names: Sequence[str] | None, *, clock: Clock | None = None
) -> dict[str, Any]:
    """Offer a package of this coordinator to its members, or to those of `names`.

    Raises:
        ConfigError: a name that nobody has.
        ModelError: no whole package, or one with a graph that no device runs.
        ModelUntrusted: signed by another coordinator; devices would refuse it.
    """
    load_config(home)
    signer = Identity.load(identity_path(home))
    verify(file, home, None)
    data = file.read_bytes()
    try:
        package = parse_package(data)  # once more: these bytes, and no others, are published
    except ValueError as error:
        raise ModelError(f"{file}: this model package cannot be used: {error}") from error
    if package.manifest.derived is not None:
        raise ModelError(
            f"{file}: a device made this variant for itself; publish what it was made of"
        )
    to = None if names is None else _ids(home, names)
    folder = private_directory(home / FOLDER)
    with exclusive_lock(folder / LOCK, held_by="coordinator model publish"):
        index, now = _read(folder), (clock or SystemClock()).wall()
        origin = package.manifest.origin
        values = {
            "serial": max(index.last + 1, int(now)),
            "model": package.digest,
            "file": hashlib.sha256(data).hexdigest(),
            "size": len(data),
            "run": origin.run,
            "round": origin.round,
        }
        try:
            offer = Offer.sign(values, signer)
        except ValidationError as error:
            raise ConfigError(
                f"{file}: its run {origin.run!r} is none of this coordinator"
            ) from error
        _write_file(_path(folder, offer.serial), data)
        models = (*index.models, Published(offer=offer, to=to, at=now))[-MOST_KEPT:]
        _save(folder, _Index(last=offer.serial, models=models))
    return {"serial": offer.serial, "model": offer.model, "run": offer.run, "round": offer.round,
            "bytes": offer.size, "to": None if names is None else sorted(names)}  # fmt: skip


def withdraw(home: Path, which: str) -> dict[str, Any]:
    """Offer a model no more; `which`: its serial, or the first digits of its name. Devices keep what they have.

    Raises:
        ConfigError: no model published here is called so, or several are.
    """
    load_config(home)
    folder = private_directory(home / FOLDER)
    with exclusive_lock(folder / LOCK, held_by="coordinator model publish"):
        index = _read(folder)
        meant = [each for each in index.models if _called(each.offer, which)]
        if len(meant) != 1:
            many = "several published models are" if meant else "no published model is"
            raise ConfigError(f"{many} called {which!r}; coordinator model published lists them")
        models = tuple(each for each in index.models if each is not meant[0])
        _save(folder, _Index(last=index.last, models=models))
    offer = meant[0].offer
    return {"serial": offer.serial, "model": offer.model, "run": offer.run, "round": offer.round}


def published(home: Path) -> list[dict[str, Any]]:
    """What is offered, oldest first; `to` are names, None for every member."""
    load_config(home)
    folder = home / FOLDER
    models = _read(folder).models
    if not models:
        return []
    with Store.open(home, read_only=True) as store:
        names = {a.agent_id.hex(): a.name for a in store.agents(include_revoked=True)}
    return [_line(folder, each, names) for each in models]


def _line(folder: Path, each: Published, names: dict[str, str]) -> dict[str, Any]:
    offer = each.offer
    manifest = _manifest(folder, offer)
    return {
        "serial": offer.serial,
        "model": offer.model,
        "run": offer.run,
        "round": offer.round,
        "at": each.at,
        "to": None if each.to is None else [names.get(agent, agent[:8]) for agent in each.to],
        "bytes": offer.size,
        "task": None if manifest is None else f"{manifest.task.id} {manifest.task.version}",
        "privacy": None if manifest is None else manifest.privacy.said,
    }


def _manifest(folder: Path, offer: Offer) -> Manifest | None:
    data = _content(folder, offer)
    return None if data is None else parse_package(data).manifest


def _ids(home: Path, names: Sequence[str]) -> tuple[str, ...]:
    with Store.open(home, read_only=True) as store:
        known = {agent.name: agent.agent_id.hex() for agent in store.agents()}
    unknown = sorted(set(names) - set(known))
    if unknown or not names:
        raise ConfigError(f"--to: no agent is called {', '.join(unknown) or 'so'}; coordinator agents lists them")  # fmt: skip
    return tuple(sorted(known[name] for name in set(names)))


def _stamp(file: BufferedReader) -> _Stamp:
    found = os.fstat(file.fileno())
    return found.st_size, found.st_ino, found.st_mtime_ns


def _meant(each: Published, agent_id: bytes) -> bool:
    return each.to is None or agent_id.hex() in each.to


def _called(offer: Offer, which: str) -> bool:
    return which == str(offer.serial) or (len(which) >= 8 and offer.model.startswith(which))


def _path(folder: Path, serial: int) -> Path:
    return folder / f"{serial}.evm"


def _content(folder: Path, offer: Offer) -> bytes | None:
    """The published bytes, None if they are no longer those."""
    try:
        data = _path(folder, offer.serial).read_bytes()
    except OSError:
        return None
    return data if hashlib.sha256(data).hexdigest() == offer.file else None


def _write_file(path: Path, data: bytes) -> None:
    try:
        write_atomic(path, data)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror}); nothing was published") from error  # fmt: skip


def _read(folder: Path) -> _Index:
    path = folder / INDEX
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return _Index()
    try:
        return _Index.model_validate_json(data)
    except ValidationError as error:
        raise StateDamaged(
            f"{path}: damaged; remove it and publish anew, devices keep their models"
        ) from error


def _save(folder: Path, index: _Index) -> None:
    """Then without the files that it names no more."""
    _write_file(folder / INDEX, index.model_dump_json().encode("ascii"))
    kept = {_path(folder, each.offer.serial) for each in index.models}
    for path in folder.glob("*.evm*"):
        if path not in kept:
            path.unlink(missing_ok=True)
