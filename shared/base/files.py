"""Files that survive a crash and keys that only their owner can read."""

import codecs
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgeveil.shared.base.errors import Busy, ConfigError, StateDamaged
from edgeveil.shared.base.failpoints import Failpoint, failpoint

MOST_NAMED = 64 << 20  # bytes of a file that a user names


def fsync_directory(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomic(path: Path, data: bytes | bytearray | memoryview, *, mode: int = 0o600) -> None:
    """Replace `path` so that after any crash it holds the old or the new content, never a part.

    Temporary file, fsync, rename, fsync of the folder.
    """
    temporary = path.with_name(path.name + ".tmp")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            failpoint(Failpoint.FILE_FSYNC_BEFORE)
            os.fsync(file.fileno())
        failpoint(Failpoint.FILE_RENAME_BEFORE)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    failpoint(Failpoint.FILE_RENAME_AFTER)
    fsync_directory(path.parent)
    failpoint(Failpoint.FILE_FOLDER_AFTER)


def write_secret(path: Path, data: bytes) -> None:
    write_atomic(path, data, mode=0o600)


def read_secret(path: Path, *, most: int = 65536, what: str = "key file") -> bytes:
    """The content of an owner-only regular file; `what` it is called in a sentence.

    Raises:
        StateDamaged: absent, a symlink, not a regular file, foreign, readable by others, too long.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise StateDamaged(f"{path}: this {what} does not exist") from error
    except OSError as error:
        raise StateDamaged(f"{path}: cannot open this {what} ({error.strerror})") from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise StateDamaged(f"{path}: a {what} must be a regular file")
    with os.fdopen(handle, "rb") as file:
        found = os.fstat(file.fileno())
        if found.st_uid != os.geteuid():
            raise StateDamaged(f"{path}: this {what} belongs to another user; chown it to yourself")
        if found.st_mode & 0o077:
            raise StateDamaged(
                f"{path}: this {what} is readable by others (mode {found.st_mode & 0o777:04o}); "
                f"run: chmod 600 {path}"
            )
        data = file.read(most + 1)
    if len(data) > most:
        raise StateDamaged(f"{path}: longer than the {most} bytes a {what} may have")
    return data


def read_file(path: Path) -> bytes:
    """The content of a file the user named, at most MOST_NAMED bytes; raises ConfigError.

    Pipes and devices are refused: they may never end, or never begin.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise ConfigError(f"{path}: cannot be read (not a regular file)")
            data = file.read(MOST_NAMED + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    if len(data) > MOST_NAMED:
        raise ConfigError(f"{path}: cannot be read (more than {MOST_NAMED >> 20} MB)")
    return data


def read_text(path: Path) -> str:
    """The text of a file the user named, whichever editor or shell wrote it; raises ConfigError."""
    try:
        return as_text(read_file(path))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: cannot be read ({error}); save it as UTF-8") from error


def as_text(data: bytes) -> str:
    """UTF-8, with or without a byte-order mark, or UTF-16 with one; raises UnicodeDecodeError."""
    marked = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if marked else "utf-8-sig")


def write_file(path: Path, data: bytes) -> None:
    """Write a file the user named, in one piece and readable by its owner only; raises ConfigError."""
    try:
        write_atomic(path, data)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror})") from error


def overlap(one: Path, other: Path) -> bool:
    """Whether one of two resolved paths is the other, or lies in it."""
    return one.is_relative_to(other) or other.is_relative_to(one)


def private_directory(path: Path) -> Path:
    """Create `path` (mode 0700), or make sure that only its owner can enter an existing one.

    Raises:
        StateDamaged: it belongs to another user, or it holds something and others may enter; a
            folder that was made for something else is never closed to them silently.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.stat()
    if found.st_uid != os.geteuid():
        raise StateDamaged(f"{path}: this folder belongs to another user; choose another")
    if found.st_mode & 0o077:
        if any(path.iterdir()):
            raise StateDamaged(
                f"{path}: others may enter this folder (mode {found.st_mode & 0o777:04o}); "
                f"choose another, or run: chmod 700 {path}"
            )
        path.chmod(0o700)
    return path


@contextmanager
def exclusive_lock(path: Path, *, held_by: str) -> Iterator[None]:
    """Hold an flock on `path` for the duration; raise Busy if another process has it."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Busy(
                f"{path.parent}: in use by another running `{held_by}`; stop it first"
            ) from error
        yield
    finally:
        os.close(handle)


@contextmanager
def short_socket_path(path: Path) -> Iterator[str]:
    """A name for a Unix socket within the 107 bytes its address may have, however deep the folder is."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
