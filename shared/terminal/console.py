"""What both command lines share: where state lives, how tables and errors look, exit codes.

Data goes to stdout, progress and errors to stderr. A user's mistake is one sentence and an exit
code of shared.base.exit_codes; only our own bug leaves a traceback, and only in a file.
"""

import atexit
import errno
import gc
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
import typer.core
from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from edgeveil.shared.base.errors import EdgeveilError
from edgeveil.shared.base.exit_codes import ExitCode
from edgeveil.shared.base.failpoints import arm_from_environment
from edgeveil.shared.base.installed import software
from edgeveil.shared.base.json_text import readable
from edgeveil.shared.pages.text import harmless
from edgeveil.shared.terminal.door import Cells, Door
from edgeveil.shared.terminal.encoding import fit_json, fit_streams

# With rich there, typer escapes the brackets of its help for an HTML that nobody makes here.
typer.core.HAS_RICH = False

# New objects until the next collection; Python's own 700 makes a tenth of a command's start a search for garbage.
YOUNG = 10_000

stdout = Door()
stderr = Door(stderr=True)

HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home", envvar="EDGEVEIL_HOME", show_envvar=False, help="State folder (or EDGEVEIL_HOME)."
    ),
]
TaskArgument = Annotated[
    str, typer.Argument(metavar="FILE|NAME", help="One file of Python, or a package's entry point.")
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print JSON to stdout instead of a table.")
]


def version_option(app: typer.Typer) -> None:
    """Give a command line `--version`."""

    def show(asked: bool) -> None:
        if asked:
            sys.stdout.write(f"{software()}\n")
            raise typer.Exit

    @app.callback()
    def options(
        _version: Annotated[
            bool,
            typer.Option(
                "--version", callback=show, is_eager=True, help="Print the version and exit."
            ),
        ] = False,
    ) -> None:
        return


STORAGE = {
    errno.ENOSPC: (ExitCode.TEMPORARY, "nothing was lost; free some space and try again"),
    errno.EDQUOT: (ExitCode.TEMPORARY, "nothing was lost; free some space and try again"),
    errno.EIO: (ExitCode.DAMAGED, "the storage is failing; check the disk before going on"),
    errno.EROFS: (
        ExitCode.USAGE,
        "nothing can be written there; mount it writable or choose another --home",
    ),
    errno.ELOOP: (
        ExitCode.DAMAGED,
        "a link is not followed there; remove it, or put the file itself",
    ),
    errno.EACCES: (ExitCode.USAGE, "check the owner and mode of this path"),
    errno.EPERM: (ExitCode.USAGE, "check the owner and mode of this path"),
    errno.ENOTDIR: (ExitCode.USAGE, "a folder is needed there"),
    errno.EEXIST: (ExitCode.USAGE, "a folder is needed there"),
    errno.ENOENT: (ExitCode.USAGE, "this path cannot be made; choose another"),
}

# Which part of the installation brings a module that an import may miss.
EXTRA_OF = {
    "soundfile": "audio", "torch": "train", "opacus": "train", "flwr": "train", "PIL": "train", "safetensors": "train",
    "sqlalchemy": "serve", "alembic": "serve", "starlette": "serve", "uvicorn": "serve",
    "tensorboard": "tensorboard", "mlflow": "mlflow", "optuna": "tune", "ray": "simulate",
    "onnxruntime": "infer", "onnx": "infer", "paho": "mqtt", "onnxscript": "serve",
}  # fmt: skip


def home_of(role: str, given: Path | None) -> Path:
    """The state folder: the flag, EDGEVEIL_HOME, or the platform's user state folder."""
    if given is not None:
        return given.expanduser().absolute()
    from platformdirs import user_state_path  # noqa: PLC0415 - only when no folder is named

    return user_state_path("edgeveil") / role


def warn(notice: str) -> None:
    stderr.broken(Text.assemble(("warning:", "yellow"), f" {notice}"), indent=2)


def print_json(value: Any) -> None:
    write_json([readable(value, indent=2), "\n"])


def write_json(parts: Iterable[str]) -> None:
    """Pieces of JSON as they come, to stdout."""
    for part in parts:
        sys.stdout.write(fit_json(part, sys.stdout))


def print_json_lines(values: Iterable[Any]) -> None:
    """A JSON list with one value a line, written as they come: a long one takes no memory."""
    before = "[\n"
    for value in values:
        write_json([before, readable(value)])
        before = ",\n"
    sys.stdout.write("[]\n" if before == "[\n" else "\n]\n")


def table(title: str, *columns: str) -> Table:
    """A plain table; columns named with a leading '>' hold numbers and are right-aligned."""
    made = Cells(
        title=harmless(title),
        title_justify="left",
        header_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for column in columns:
        numeric = column.startswith(">")
        made.add_column(
            harmless(column.removeprefix(">")),
            justify="right" if numeric else "left",
            overflow="fold",
        )
    return made


def fit(made: Table, console: Console, *optional: str) -> Table:
    """Leave out optional columns, in this order, until the table is as wide as the terminal or less.

    Whatever goes into a pipe keeps all of them.
    """
    unbounded = console.options.update(width=10_000)
    for name in optional if console.is_terminal else ():
        if Measurement.get(console, unbounded, made).maximum <= console.width:
            break
        made = without(made, {name})
    return made


def without(made: Table, names: Collection[str]) -> Table:
    """The same table less the columns with these headings."""
    kept = [column for column in made.columns if column.header not in names]
    smaller = table(str(made.title or ""))
    for column in kept:
        smaller.add_column(column.header, justify=column.justify, overflow=column.overflow)
    for cells in zip(*(column.cells for column in kept), strict=True):
        smaller.add_row(*cells)
    return smaller


def run(app: Callable[..., Any], role: str) -> NoReturn:
    """Run a typer app as a process: every error becomes a sentence and an exit code."""
    os.umask(0o077)
    gc.set_threshold(YOUNG)
    atexit.register(
        gc.freeze
    )  # else a sixth of a short command is a last search of all that was imported
    fit_streams()
    try:
        arm_from_environment()
        app()
    except EdgeveilError as error:
        _complain(str(error))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # `| head` closed our stdout
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        code, fix = STORAGE.get(error.errno or 0, (ExitCode.BUG, ""))
        if code is ExitCode.BUG:
            _report_bug(error, role)
        where = "the output" if error.filename is None else error.filename
        _complain(f"{where}: {error.strerror}; {fix}")
        sys.exit(code)
    except Exception as error:  # noqa: BLE001 - the last line of defence: a bug of ours
        _explain_missing_extra(error, role)
        _report_bug(error, role)
    sys.exit(0)


def _complain(text: str) -> None:
    """A mistake a line, the later ones indented, so that no line within a text looks like one of ours."""
    stderr.print(Text("error:", style="bold red"), end=" ")
    stderr.lines(text.replace("\n", "\n  ") + "\n")


def _explain_missing_extra(error: Exception, role: str) -> None:
    """Exit 69 with the command to run, if `error` is the absence of an optional dependency."""
    name = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    extra = EXTRA_OF.get(name)
    if extra is not None:
        if extra in {"serve", "train"}:  # each brings the module; the role's own is the right one
            extra = "serve" if role == "coordinator" else "train"
        elif extra == "infer" and role == "coordinator":
            extra = "serve"
        _complain(
            f'this command needs {name}, which is not installed; run: pip install "edgeveil[{extra}]"'
        )
        sys.exit(ExitCode.UNAVAILABLE)


def _report_bug(error: Exception, role: str) -> NoReturn:
    path = _save_traceback(role)
    _complain(f"{type(error).__name__}: this is a bug in edgeveil; please report it with {path}")
    sys.exit(ExitCode.BUG)


def _save_traceback(role: str) -> Path:
    handle, name = tempfile.mkstemp(prefix=f"edgeveil-{role}-", suffix=".log")
    with os.fdopen(handle, "w") as file:
        file.writelines(f"{harmless(line)}\n" for line in traceback.format_exc().split("\n"))
    return Path(name)
