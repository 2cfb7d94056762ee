"""Tasks of installed packages: entry points of the group `edgeveil.tasks`, found without importing them.

    [project.entry-points."edgeveil.tasks"]
    valve = "valve_task.task:TASK"

Like a file, such a task counts once its owner has installed it by name, with the hash of all files of Python
of its package. One with compiled code beside them is refused: a hash of what cannot be read would have its owner
vouch for it, and Python prefers it to the source of the same name.
"""

import ast
import importlib
import importlib.util
from dataclasses import dataclass
from importlib.machinery import BYTECODE_SUFFIXES, EXTENSION_SUFFIXES
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.tasks.own.source import exposed, files_behind, hash_of, said

GROUP = "edgeveil.tasks"
MOST_FILES, MOST_BYTES = 1000, 16 << 20
CACHE = "__pycache__"  # made by Python from the sources beside it


@dataclass(frozen=True)
class Packaged:
    """An entry point, and the files of its package as they are now."""

    name: str
    module: str
    files: tuple[tuple[str, bytes], ...]

    @property
    def behind(self) -> tuple[str, ...]:
        return files_behind(_parsed(name, data) for name, data in self.files)

    def code_hash(self) -> bytes:
        return hash_of(self.files, self.behind)

    def load(self) -> Any:
        """What the entry point names; raises ConfigError."""
        with said(self.name):
            module = importlib.import_module(self.module)
        return exposed(module, self.name)


def offered() -> tuple[str, ...]:
    """Names of all entry points, ascending."""
    return tuple(sorted({each.name for each in entry_points(group=GROUP)}))


def find(name: str) -> Packaged:
    """Raise ConfigError unless exactly one package has an entry point of this name."""
    found = list(entry_points(group=GROUP, name=name))
    if len(found) != 1:
        known = ", ".join(offered()) or "none"
        raise ConfigError(f"{name}: neither a file nor one entry point of {GROUP}; installed packages have {known}")  # fmt: skip
    point = found[0]
    if point.attr != "TASK":
        raise ConfigError(f"{name}: its entry point names {point.value}; it has to end with :TASK")
    return Packaged(name, point.module, tuple(_files(point)))


def _files(point: EntryPoint) -> list[tuple[str, bytes]]:
    """Every file of Python of the topmost package, read without importing it."""
    top = point.module.split(".")[0]
    found = importlib.util.find_spec(top)
    if found is None or found.origin is None:
        raise ConfigError(f"{point.name}: its package {top} is not there; install it again")
    origin = Path(found.origin)
    paths = sorted(origin.parent.rglob("*.py")) if found.submodule_search_locations else [origin]
    if len(paths) > MOST_FILES or sum(path.stat().st_size for path in paths) > MOST_BYTES:
        raise ConfigError(f"{point.name}: its package {top} is larger than a task may be: {MOST_FILES} files, {MOST_BYTES >> 20} MB")  # fmt: skip
    if compiled := _compiled(origin.parent if found.submodule_search_locations else None):
        raise ConfigError(
            f"{point.name}: its package {top} has compiled code, {compiled}, which no owner can read and Python "
            "loads instead of the source of that name; a task is source alone: remove the file, or leave what is "
            "compiled to a package that the task imports"
        )
    base = origin.parent.parent if found.submodule_search_locations else origin.parent
    return [(path.relative_to(base).as_posix(), path.read_bytes()) for path in paths]


def _compiled(folder: Path | None) -> str:
    """The first file of a package that Python would load and that is no source; "" for none."""
    if folder is None:
        return ""
    endings = (*EXTENSION_SUFFIXES, *BYTECODE_SUFFIXES, ".so", ".pyd", ".dll", ".dylib")
    found = (path for path in sorted(folder.rglob("*")) if path.name.endswith(endings))
    return next(
        (path.relative_to(folder).as_posix() for path in found if path.parent.name != CACHE), ""
    )


def _parsed(name: str, data: bytes) -> ast.AST:
    try:
        return ast.parse(data)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise ConfigError(f"{name}: is no Python ({error})") from error
