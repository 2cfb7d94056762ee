"""The rows of home/state.db onto the server that coordinator.toml names: once, and into an empty database."""

from contextlib import closing
from pathlib import Path

from edgeveil.coordinator.plan.config import load_config
from edgeveil.coordinator.store import place
from edgeveil.coordinator.store.copying import copy_rows
from edgeveil.coordinator.store.opening import FILE, open_file, open_server
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.base.files import exclusive_lock, fsync_directory

LOCK = "serve.lock"
MOVED = "state.db.moved"


def move_database(home: Path) -> tuple[int, str]:
    """Copy them all and lay the file aside; how many there were, and what the new place is called.

    Raises:
        ConfigError: no server is named, there is no file to move, or the server's database is in use.
        Busy: `coordinator serve` runs, or the server does not answer.
        StateDamaged: the file cannot be read.
    """
    load_config(home)
    server = place.place_of(home)
    if server is None:
        raise ConfigError(
            f"{home / 'coordinator.toml'}: names no server; write its url into [store] first"
        )
    if not (home / FILE).exists():
        raise ConfigError(f"{home / FILE}: there is no such file to move; see: coordinator doctor")
    with exclusive_lock(home / LOCK, held_by="coordinator serve"):
        copied = fill(home, server)
        (home / FILE).rename(home / MOVED)
        fsync_directory(home)
    return copied, server.name


def fill(home: Path, server: place.Server) -> int:
    """Copy home/state.db into an empty database of that server; raises ConfigError if it is not empty."""
    with (
        closing(open_server(home, server, create=True)) as target,
        closing(open_file(home / FILE, create=False, read_only=False)) as source,
    ):
        return copy_rows(source, target)
