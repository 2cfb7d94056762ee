"""A copy of the coordinator's home that can be checked, and the way back from it.

Taken while `serve` runs: the database first, through SQLite's own backup or as the rows of a PostgreSQL
server, then the files its records name, which are on disk before their records are. Either way it is
state.db of the copy, and goes back to where coordinator.toml says. Locks, sockets, SuperLink's runtime folder and the
federation key (which does not live here) are left out. The manifest is written last: without it, or
with one changed byte, nothing is restored (docs/operating.md, "Backups").
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from edgeveil.coordinator.plan.config import load_config
from edgeveil.coordinator.serving.moving import LOCK, fill
from edgeveil.coordinator.store import place
from edgeveil.coordinator.store.copying import copy_rows
from edgeveil.coordinator.store.opening import FILE, open_database, open_file, open_server
from edgeveil.coordinator.store.schema import HEAD
from edgeveil.coordinator.store.store import Store
from edgeveil.shared.base.clock import SystemClock
from edgeveil.shared.base.errors import ConfigError, StateDamaged
from edgeveil.shared.base.files import (
    exclusive_lock,
    fsync_directory,
    private_directory,
    read_file,
    write_atomic,
)
from edgeveil.shared.terminal.progress import counted, progress

FORMAT = 1
MANIFEST = "manifest.json"
_SINGLE = ("coordinator.toml", "identity.key")
_PATTERNS = (
    "tls/*",
    "published/*.evm",
    "published/index.json",
    "events*.jsonl*",
    "runs/*/*.safetensors",
    "runs/*/events*.jsonl*",
    "runs/*/report.json",
)


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup folder holds. `created` is Unix seconds, `schema` the database's version."""

    created: float
    schema: str
    files: dict[str, str]  # path below the folder → SHA-256, hex


def back_up(home: Path, target: Path, *, quiet: bool = True) -> Backup:
    """Copy `home` into the new folder `target`; it is on the disk when this returns.

    Unless `quiet`, a terminal shows how far it got; restore() too.

    Raises:
        ConfigError: no coordinator there, or the target is not an empty folder.
        StateDamaged: the database cannot be read.
        OSError: the disk is full or failing; what was copied is no backup.
    """
    load_config(home)
    _insist_on_empty(target)
    private_directory(target)
    if place.place_of(home) is None:
        _copy_database(home / FILE, target / FILE)
    else:
        _copy_server(home, target)
    files = {FILE: _sha256(target / FILE)}
    names = list(_names(home))
    with progress("copying", len(names), quiet=quiet) as step:
        for name in counted(names, step):
            data = _content(home / name)
            if data is None:
                continue  # retention was faster; no record of the database needs it any more
            path = target / name
            private_directory(path.parent)
            write_atomic(path, data)
            files[name] = hashlib.sha256(data).hexdigest()
    found = Backup(SystemClock().wall(), HEAD, files)
    text = {"format": FORMAT, "created": found.created, "schema": HEAD, "files": files}
    write_atomic(target / MANIFEST, json.dumps(text, indent=1, sort_keys=True).encode())
    return found


def read_backup(source: Path, *, quiet: bool = True) -> Backup:
    """Check every byte against the manifest; raises StateDamaged or ConfigError."""
    if not (source / MANIFEST).exists():
        raise ConfigError(
            f"{source}: no {MANIFEST} in it, so this is no complete backup; make one with: "
            "coordinator backup DEST"
        )
    try:
        values = json.loads(read_file(source / MANIFEST))
        found = Backup(float(values["created"]), str(values["schema"]), dict(values["files"]))
        known = values["format"] == FORMAT
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StateDamaged(f"{source / MANIFEST}: unreadable; use another backup") from error
    if not known:
        raise ConfigError(f"{source}: made by a newer version of edgeveil; upgrade first")
    with progress("checking", len(found.files), quiet=quiet) as step:
        for name, wanted in counted(found.files.items(), step):
            _check(source, name, wanted)
    return found


def _check(source: Path, name: str, wanted: str) -> None:
    path = source / name
    if not path.resolve().is_relative_to(source.resolve()):
        raise StateDamaged(f"{source / MANIFEST}: names a file outside of the backup: {name!r}")
    if not path.is_file() or _sha256(path) != wanted:
        raise StateDamaged(f"{path}: absent or changed since the backup; use another backup")


def restore(source: Path, home: Path, *, quiet: bool = True) -> Backup:
    """Put a checked backup into the empty folder `home`, and look whether it opens.

    Raises:
        ConfigError: not a backup, `home` or the server's database is not empty, or its schema is of a
            newer version.
        StateDamaged: a file is not the one that was backed up.
    """
    found = read_backup(source, quiet=quiet)
    if found.schema > HEAD:
        raise ConfigError(
            f"{source}: its database has schema {found.schema}, this version knows {HEAD}; "
            "upgrade edgeveil first"
        )
    _insist_on_empty(home)
    private_directory(home)
    server = place.place_of(source)
    if server is not None:
        open_server(
            home, server, create=True
        ).close()  # refuses one in use before a file is written
    with exclusive_lock(home / LOCK, held_by="coordinator serve"):
        with progress("restoring", len(found.files), quiet=quiet) as step:
            for name in counted(found.files, step):
                path = home / name
                private_directory(path.parent)
                write_atomic(path, (source / name).read_bytes())
        if server is not None:
            fill(home, server)
            (home / FILE).unlink()
        with Store.open(home) as store:  # migrates an older schema, finds damage
            for run in store.runs():
                store.abandon_open_attempts(run.run_id, "COORDINATOR_RESTART")
    fsync_directory(home)
    return found


def _names(home: Path) -> Iterator[str]:
    yield from _SINGLE
    for pattern in _PATTERNS:
        for path in sorted(home.glob(pattern)):
            if path.is_file() and path.suffix != ".tmp":
                yield path.relative_to(home).as_posix()


def _content(path: Path) -> bytes | None:
    """The file, without a line that is just being written."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    return data[: data.rfind(b"\n") + 1] if path.suffix == ".jsonl" else data


def _copy_server(home: Path, target: Path) -> None:
    rows = target / "rows.db"
    with (
        closing(open_database(home, create=False, read_only=True)) as source,
        closing(open_file(rows, create=True, read_only=False)) as copy,
    ):
        copy_rows(source, copy)
    _copy_database(rows, target / FILE)
    rows.unlink()


def _copy_database(source: Path, target: Path) -> None:
    write_atomic(target, b"")  # 0600 before SQLite sees it
    try:
        with (
            closing(sqlite3.connect(f"file:{quote(str(source))}?mode=ro", uri=True)) as old,
            closing(sqlite3.connect(target)) as new,
        ):
            old.backup(new)
            new.execute("PRAGMA journal_mode=DELETE")
            (verdict,) = new.execute("PRAGMA integrity_check(1)").fetchone()
    except sqlite3.Error as error:
        raise StateDamaged(f"{source}: cannot be copied ({error})") from error
    if verdict != "ok":
        raise StateDamaged(f"{source}: damaged ({verdict}); restore an earlier backup")
    write_atomic(target, target.read_bytes())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _insist_on_empty(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(
            f"{folder}: is not an empty folder; choose a new one, nothing is overwritten"
        )
