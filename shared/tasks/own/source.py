"""A file with a task: read as data first, then loaded; whatever it does wrong is one sentence.

Its code has the rights of whoever loads it. What is checked here keeps mistakes out, not malice.
"""

import ast
import importlib.util
import linecache
import os
import stat
import sys
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.secagg.agreement import context
from edgeveil.shared.tasks.spec import PACKAGE

MOST = 1 << 20  # bytes of a file with a task
ENTRY = "TASK"  # what it exposes
OURS = "edgeveil"
_COMPUTING = ("edgeveil.shared.data.", "edgeveil.shared.tasks.", "edgeveil.shared.scores.")
_PLUMBING = {"edgeveil.shared.tasks.spec", "edgeveil.shared.tasks.registry"}


@dataclass(frozen=True)
class Source:
    """The bytes of a file that parses; `name` is what messages call it."""

    name: str
    data: bytes

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.data)

    @property
    def behind(self) -> tuple[str, ...]:
        """Files of this product that decide with it what is computed, relative to PACKAGE."""
        return files_behind([self.tree])

    def code_hash(self) -> bytes:
        """SHA-256 over this file and those behind it (docs/protocol.md, "Encodings")."""
        return hash_of([("task.py", self.data)], self.behind)

    def load(self) -> Any:
        """What it exposes as TASK; imports what it imports.

        Raises:
            ConfigError: it cannot be loaded, or exposes none.
        """
        name = f"edgeveil_own_{self.code_hash().hex()[:16]}"
        module = types.ModuleType(name)
        module.__file__ = self.name
        linecache.cache[self.name] = (len(self.data), None, self.data.decode().splitlines(keepends=True), self.name)  # fmt: skip
        sys.modules[name] = module  # dataclasses look their module up there
        with said(self.name):
            exec(compile(self.data, self.name, "exec"), module.__dict__)  # noqa: S102  the owner's file
        return exposed(module, self.name)


def read_source(path: Path) -> Source:
    """A file as its owner names it.

    Raises:
        ConfigError: no regular file of at most 1 MB, no Python, or it imports what a task may not.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise ConfigError(f"{path}: is no regular file; a task is one file of Python")
            data = file.read(MOST + 1)
    except OSError as error:
        link = "is a link, which is not followed; name the file itself"
        why = link if path.is_symlink() else f"cannot be read ({error.strerror})"
        raise ConfigError(f"{path}: {why}") from error
    if len(data) > MOST:
        raise ConfigError(f"{path}: more than {MOST >> 20} MB; a task is one file of code, without weights or data")  # fmt: skip
    return checked(Source(str(path), data))


def checked(source: Source) -> Source:
    """`source` itself, once it parses and imports nothing that both sides cannot have."""
    try:
        source.data.decode()
        tree = source.tree
    except UnicodeDecodeError as error:
        raise ConfigError(f"{source.name}: is not UTF-8 ({error.reason})") from error
    except SyntaxError as error:
        raise ConfigError(
            f"{source.name}, line {error.lineno}: is no Python ({error.msg})"
        ) from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise ConfigError(f"{source.name}: is no Python ({error})") from error
    for name, line, level in _imports(tree):
        top = name.split(".")[0]
        if level:
            raise ConfigError(f"{source.name}, line {line}: imports from beside itself; a task is one file, put it in there")  # fmt: skip
        if top == OURS and not name.startswith("edgeveil.shared"):
            raise ConfigError(f"{source.name}, line {line}: imports {name}; both sides have edgeveil.shared alone")  # fmt: skip
        if not _there(top):
            raise ConfigError(f"{source.name}, line {line}: imports {top}, which is not installed here; install that package on every machine, or put what is needed in this file")  # fmt: skip
    return source


def _there(name: str) -> bool:
    if name == "__main__":  # there is always one, and never the same
        return False
    try:
        return importlib.util.find_spec(name) is not None
    except ValueError:  # of modules that are their own makers' business
        return False


def _imports(tree: ast.AST) -> Iterator[tuple[str, int, int]]:
    """(module, line, level) of every import, wherever it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno, 0) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "", node.lineno, node.level
            if node.module is not None and node.module.startswith(OURS):
                yield from ((f"{node.module}.{alias.name}", node.lineno, 0) for alias in node.names)


def files_behind(trees: Iterable[ast.AST]) -> tuple[str, ...]:
    """What these files reach by imports of this product's data, tasks and scores, ascending."""
    found: set[str] = set()
    pending = [name for tree in trees for name, _, _ in _imports(tree)]
    while pending:
        name = pending.pop()
        file = name.removeprefix("edgeveil.shared.").replace(".", "/") + ".py"
        known = name.startswith(_COMPUTING) and name not in _PLUMBING and (PACKAGE / file).is_file()
        if known and file not in found:
            found.add(file)
            pending += [each for each, _, _ in _imports(ast.parse((PACKAGE / file).read_bytes()))]
    return tuple(sorted(found))


def hash_of(own: Iterable[tuple[str, bytes]], behind: Iterable[str]) -> bytes:
    """Over a task's own files, and those of this product that it is built on."""
    ours = ((f"shared/{name}", (PACKAGE / name).read_bytes()) for name in behind)
    return context.code_hash([*((f"own/{name}", data) for name, data in own), *ours])


def exposed(module: types.ModuleType, name: str) -> Any:
    """Raises ConfigError where it exposes no TASK, or one that lacks what a task has."""
    task = getattr(module, ENTRY, None)
    if task is None:
        raise ConfigError(f"{name}: has no {ENTRY}; end it with {ENTRY} = SimpleTask(…), or an object of your own class")  # fmt: skip
    lacking = [each for each in _MEMBERS if not hasattr(task, each)]
    if lacking:
        raise ConfigError(f"{name}: {ENTRY} lacks {', '.join(lacking)} (docs/extending.md, \"A task\")")  # fmt: skip
    return task


_MEMBERS = (
    "spec", "parse_options", "schema", "prepare", "load", "build", "tensors", "criterion", "probe",
    "tally_form", "tallies", "metrics", "keep", "signature",
)  # fmt: skip


class said:  # noqa: N801  reads as what it does
    """Whatever code of a task raises in this block becomes one ConfigError that names file and line."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        return

    def __exit__(self, _kind: object, error: BaseException | None, trace: types.TracebackType | None) -> None:  # fmt: skip
        if error is None or isinstance(error, KeyboardInterrupt | ConfigError):
            return
        line = _line_of(trace, self._name)
        first = (str(error).strip().splitlines() or ["no more is said"])[0]
        raise ConfigError(
            f"{self._name}{line}: raised {type(error).__name__} when it was loaded: {first[:300]}"
        ) from error


def _line_of(trace: types.TracebackType | None, name: str) -> str:
    """Of the last frame in that file."""
    line = 0
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == name:
            line = trace.tb_lineno
        trace = trace.tb_next
    return f", line {line}" if line else ""
