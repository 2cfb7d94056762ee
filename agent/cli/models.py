"""`agent predict` and `agent evaluate`: a model package at work on this device. Nothing is sent."""

import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from edgeveil.shared.terminal import console

if TYPE_CHECKING:
    from edgeveil.agent.inference.predicting import Answer
    from edgeveil.agent.inference.runtime import Model, Prediction
    from edgeveil.shared.scores.views import Matrix, Table

app = typer.Typer()
ROLE = "agent"
ROWS = 500  # of one table on a terminal
NAMED = 20  # records left out of an evaluation that are named one by one

ModelArgument = Annotated[Path, Argument(metavar="MODEL", help="A model package, NAME.evm.")]
TrustOption = Annotated[
    str | None,
    Option(
        "--trust",
        metavar="KEY",
        help="Who must have signed it [default: the coordinator this device joined].",
    ),
]


@app.command()
def predict(
    model: ModelArgument,
    inputs: Annotated[
        list[str],
        Argument(
            metavar="INPUT…",
            help="Pictures, recordings, folders, .npz files, or - for one on stdin.",
        ),
    ],
    home: console.HomeOption = None,
    trust: TrustOption = None,
    threshold: Annotated[
        float,
        Option("--threshold", min=0, max=1, help="No label where the highest score is below this."),
    ] = 0.0,
    threads: Annotated[
        int, Option("--threads", min=0, max=256, help="Of the runtime [default: one a processor].")
    ] = 0,
    as_json: Annotated[
        bool, Option("--json", help="Print a JSON object per record, one a line.")
    ] = False,
    as_csv: Annotated[bool, Option("--csv", help="Print CSV to stdout.")] = False,
) -> None:
    """What a model says of pictures, recordings or arrays. Nothing is sent, no budget is spent.

    Ends with 0 if everything could be read, else with 65, after all other answers.

    Example: agent predict bag.evm photo.jpg folder/ --json
    """
    from edgeveil.agent.inference.inputs import find
    from edgeveil.agent.inference.predicting import predictions
    from edgeveil.shared.base.errors import ConfigError, DataError
    from edgeveil.shared.terminal.progress import progress

    if as_json and as_csv:
        raise ConfigError("--json and --csv: choose one")
    opened = _opened(model, home, trust, threads)
    found = find(inputs)
    if found.others:
        console.stderr.print(
            f"{found.others} files in folders are no pictures, no recordings and no .npz files"
        )
    show = _json_lines if as_json else _csv_lines if as_csv else _tables
    quiet = not (as_json or as_csv) and console.stdout.is_terminal
    with progress("predicting", len(found.paths), quiet=quiet) as step:
        read, left = show(predictions(opened, found.paths, sys.stdin.buffer, step), threshold)
    if left or not read:
        raise DataError(
            f"{left} of {read + left} inputs could not be used"
            if left
            else "nothing to predict: no picture, recording or array among the inputs"
        )


@app.command()
def evaluate(
    model: ModelArgument,
    data: Annotated[
        Path,
        Option("--data", help="A folder of pictures or recordings per class, or an .npz file."),
    ],
    home: console.HomeOption = None,
    trust: TrustOption = None,
    html: Annotated[
        Path | None, Option("--html", metavar="FILE", help="Write one HTML file instead.")
    ] = None,
    as_json: console.JsonOption = False,
) -> None:
    """How well a model does on labelled records of this device. The figures stay here.

    Example: agent evaluate bag.evm --data ./photos
    """
    from edgeveil.agent.inference.evaluation import evaluate as evaluated
    from edgeveil.shared.base.files import write_file
    from edgeveil.shared.data.left_out import total

    opened = _opened(model, home, trust, 0)
    found = evaluated(opened, data, quiet=as_json)
    for each in found.left[:NAMED]:
        console.stderr.print(f"left out: {each.sentence}")
    left = total(found.left)
    if left:
        console.stderr.print(f"left out in all: {left}")
    about = {"model": opened.digest, "signer": opened.signer.hex(), "data": str(data)}
    if as_json:
        console.print_json({**about, "left_out": left, **found.as_json()})
    if html is not None:
        write_file(html, _page(opened, found, about, left).encode())
        console.stderr.print(f"wrote {html}")
    elif not as_json:
        _print_views(found.views)


@app.command()
def serve(
    model: ModelArgument,
    home: console.HomeOption = None,
    trust: TrustOption = None,
    listen: Annotated[
        str, Option("--listen", metavar="HOST:PORT", help="Where, on loopback.")
    ] = "127.0.0.1:8482",
    token_file: Annotated[
        Path | None,
        Option(
            "--token-file", metavar="FILE", help="Made if absent [default: in the state folder]."
        ),
    ] = None,
    threads: Annotated[
        int, Option("--threads", min=0, max=256, help="Of the runtime [default: one a processor].")
    ] = 0,
) -> None:
    """Answer requests on loopback with a model until interrupted; a new file takes the old one's place.

    Example: agent serve bag.evm
    """
    import signal
    import threading

    from edgeveil.agent.inference.runtime import open_model
    from edgeveil.agent.inference.service import Server, Slot
    from edgeveil.shared.base.files import private_directory
    from edgeveil.shared.pages.door import page_token, split_address
    from edgeveil.shared.terminal.telling import say

    folder = console.home_of(ROLE, home)
    slot = Slot(
        model, lambda path: open_model(path, trust=trust, home=folder, threads=threads), say
    )
    if slot.current().notice:
        console.warn(f"{model}: {slot.current().notice}")
    kept = token_file or private_directory(folder) / "serve.token"
    server = Server(split_address(listen, "--listen"), slot, page_token(kept))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    host, port = server.server_address[:2]
    shown = f"[{host!s}]" if ":" in str(host) else str(host)
    say(f"serving {model} at http://{shown}:{port}/v1/predict; the token is in {kept}")
    server.serve_forever(poll_interval=0.2)
    server.server_close()


def _opened(path: Path, home: Path | None, trust: str | None, threads: int) -> "Model":
    from edgeveil.agent.inference.runtime import open_model

    opened = open_model(path, trust=trust, home=console.home_of(ROLE, home), threads=threads)
    if opened.notice:
        console.warn(f"{path}: {opened.notice}")
    return opened


def _answers(answers: Iterator["Answer"], counts: list[int]) -> Iterator[tuple[str, "Prediction"]]:
    """Those that are predictions; all others are told at once. `counts`: read, left out."""
    for name, prediction, why in answers:
        if prediction is None:
            counts[1] += 1
            console.stderr.print(f"left out: {name}: {why}")
        else:
            counts[0] += 1
            yield name, prediction


def _json_lines(answers: Iterator["Answer"], threshold: float) -> tuple[int, int]:
    from edgeveil.shared.base.json_text import readable

    counts = [0, 0]
    for name, found in _answers(answers, counts):
        values = {
            "input": name,
            "label": _label(found, threshold),
            "score": round(found.score, 6),
            "scores": {label: round(score, 6) for label, score in found.scores.items()},
        }
        console.write_json([readable(values, tight=True), "\n"])
    return counts[0], counts[1]


def _csv_lines(answers: Iterator["Answer"], threshold: float) -> tuple[int, int]:
    from edgeveil.shared.pages.text import harmless

    counts = [0, 0]
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(("input", "label", "score"))
    for name, found in _answers(answers, counts):
        label = _label(found, threshold)
        shown = "" if label is None else harmless(label)
        writer.writerow((harmless(name), shown, f"{found.score:.6f}"))
    return counts[0], counts[1]


def _tables(answers: Iterator["Answer"], threshold: float) -> tuple[int, int]:
    counts = [0, 0]
    made = None
    for name, found in _answers(answers, counts):
        if made is None:
            made = console.table("Predictions", "input", "label", ">score")
        made.add_row(name, _label(found, threshold) or "–", f"{found.score:.1%}")
        if made.row_count >= ROWS:
            console.stdout.print(made)
            made = None
    if made is not None:
        console.stdout.print(made)
    return counts[0], counts[1]


def _label(found: "Prediction", threshold: float) -> str | None:
    return found.label if found.score >= threshold else None


def _print_views(views: Any) -> None:
    from edgeveil.shared.scores.views import Matrix, Table

    for view in views:
        if isinstance(view, Table):
            console.stdout.print(_as_table(view))
        elif isinstance(view, Matrix):
            console.stdout.print(_as_matrix(view))


def _as_table(view: "Table") -> Any:
    from edgeveil.shared.scores.views import said

    made = console.table(said(view.title, "en"), *(said(each, "en") for each in view.headings))
    for row in view.rows:
        made.add_row(*(f"{v:,}" if isinstance(v, int) else said(v, "en") for v in row))
    return made


def _as_matrix(view: "Matrix") -> Any:
    from edgeveil.shared.scores.views import said

    headings = (said(view.corner, "en"), *(f">{label}" for label in view.labels))
    made = console.table(said(view.title, "en"), *headings)
    for label, row in zip(view.labels, view.counts, strict=True):
        made.add_row(label, *(f"{count:,}" for count in row))
    return made


def _page(opened: "Model", found: Any, about: dict[str, str], left: int) -> str:
    from edgeveil.shared.pages.document import document
    from edgeveil.shared.pages.markup import facts, section
    from edgeveil.shared.pages.views import drawn_matrix, drawn_table
    from edgeveil.shared.scores.views import Matrix, Table, said

    task, origin = opened.manifest.task, opened.manifest.origin
    known = {
        **about,
        "task": f"{task.id} {task.version}",
        "run": f"{origin.run}, round {origin.round}",
        "left out": left,
    }
    parts = [section("about", "Evaluation on this device", facts(known))]
    for at, view in enumerate(found.views):
        if isinstance(view, Table):
            drawn = drawn_table(view, "en")
        elif isinstance(view, Matrix):
            drawn = drawn_matrix(view, "en")
        parts.append(section(f"view-{at}", said(view.title, "en"), drawn, said(view.note, "en")))
    body = f'<main id="main"><h1>Model evaluation</h1>{"".join(parts)}</main>'
    return document("en", "Model evaluation", body)
