"""Where a service listens: a port of loopback, or a Unix socket that only its owner can reach."""

import contextlib
import fcntl
import os
import socket
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

from edgeveil.shared.base.errors import Busy, ConfigError
from edgeveil.shared.base.files import private_directory, short_socket_path
from edgeveil.shared.pages.door import is_loopback, split_address

UNIX = "unix:"
ROOT = 0
TRY_S = 2.0
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid: struct ucred of Linux

Address = tuple[str, int] | Path


def address(text: str) -> Address:
    """Of HOST:PORT on loopback, or of unix:PATH; raises ConfigError."""
    if text.startswith(UNIX):
        name = text.removeprefix(UNIX)
        if Path(name).name in {"", ".."} or "\0" in name:
            raise ConfigError(f"--listen {text}: name the socket: {UNIX}PATH")
        return Path(name).absolute()
    host, port = split_address(text, "--listen")
    if not is_loopback(host):
        raise ConfigError(f"--listen {host}: a model is served on loopback only")
    return host, port


def bind_private(listener: socket.socket, path: Path) -> None:
    """Listen on a socket of mode 0600 in a folder of mode 0700; one that nobody answers on is replaced.

    Raises:
        StateDamaged: others may enter the folder, or it is another user's.
        Busy: somebody answers there.
        ConfigError: what is there is no socket, or none can be made.
    """
    try:
        folder = private_directory(path.parent)
        with _alone_in(folder), short_socket_path(path) as name:
            _remove_stale(path, name)
            listener.bind(name)
            path.chmod(0o600)
            listener.listen(32)  # before others look whether somebody answers
    except OSError as error:
        raise ConfigError(f"--listen {UNIX}{path}: {error.strerror or error}") from error


def unlink(path: Path, inode: int) -> None:
    """Remove the socket, unless another has taken its name."""
    with contextlib.suppress(OSError):
        if path.lstat().st_ino == inode:
            path.unlink()


def is_owner(connection: socket.socket) -> bool:
    """Whether the kernel says that this user, or root, opened the other end."""
    told = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return _CREDENTIALS.unpack(told)[1] in {ROOT, os.geteuid()}


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _remove_stale(path: Path, name: str) -> None:
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ConfigError(f"--listen {UNIX}{path}: is there and is no socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(TRY_S)
        try:
            probe.connect(name)
        except ConnectionRefusedError:
            path.unlink()
            return
        except TimeoutError:
            pass  # somebody is there, and busy
    raise Busy(f"--listen {UNIX}{path}: another process answers there; stop it first")
