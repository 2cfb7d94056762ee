"""`agent predict` and `agent evaluate`: a model package at work on this device. Nothing is sent."""

import csv
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from edgeveil.agent.cli.model_commands import TrustOption
from edgeveil.shared.terminal import console

if TYPE_CHECKING:
    from edgeveil.agent.inference.predicting import Answer
    from edgeveil.agent.inference.runtime import Model, Said
    from edgeveil.agent.inference.video.frames import Pace

ROLE = "agent"
ROWS = 500  # of one table on a terminal
NAMED = 20  # records left out of an evaluation that are named one by one

ModelArgument = Annotated[Path, Argument(metavar="MODEL", help="A model package, NAME.evm.")]


InputsArgument = Annotated[
    list[str],
    Argument(
        metavar="INPUT…",
        help="Pictures, tables, folders (of moments: with records.csv), .npz files, videos, cameras, or - for stdin.",
    ),
]
ThresholdOption = Annotated[
    float | None,
    Option(
        "--threshold",
        min=0,
        help="No label where the highest score is below this [default: 0; of boxes 0.3]; of a model that tells "
        "odd records, above this one is odd.",
    ),
]
DrawOption = Annotated[
    Path | None,
    Option(
        "--draw",
        metavar="PATH",
        help="Write the pictures into this folder, or a video into this .mp4 file, with boxes drawn.",
    ),
]
CountOption = Annotated[
    Path | None,
    Option("--count", metavar="LINE.toml", help="Count what crosses lines in a video."),
]
ThreadsOption = Annotated[
    int, Option("--threads", min=0, max=256, help="Of the runtime [default: one a processor].")
]
EveryOption = Annotated[int, Option("--every", min=1, help="Of a video, each N-th frame.")]
RateOption = Annotated[
    float | None, Option("--fps", min=0.001, help="Of a video, so many frames a second at most.")
]
PredictRulesOption = Annotated[
    Path | None,
    Option(
        "--rules", metavar="FILE", help="With --count: what follows from events, docs/rules.md."
    ),
]
SecondsOption = Annotated[
    float | None,
    Option("--seconds", min=0.001, help="Of a video or camera, no more than so long."),
]
LinesOption = Annotated[bool, Option("--json", help="Print a JSON object per record, one a line.")]
CsvOption = Annotated[bool, Option("--csv", help="Print CSV to stdout.")]


def predict(
    model: ModelArgument,
    inputs: InputsArgument,
    home: console.HomeOption = None,
    trust: TrustOption = None,
    threshold: ThresholdOption = None,
    draw: DrawOption = None,
    count: CountOption = None,
    rules: PredictRulesOption = None,
    threads: ThreadsOption = 0,
    every: EveryOption = 1,
    fps: RateOption = None,
    seconds: SecondsOption = None,
    as_json: LinesOption = False,
    as_csv: CsvOption = False,
) -> None:
    """What a model says of pictures, recordings, frames of a video, tables or arrays. No budget is spent, and nothing is
    sent but what --rules says.

    Ends with 0 if everything could be read, else with 65, after all other answers.

    With --count or --draw a detector follows what moves in one video; events come as they happen, counts last.

    Example: agent predict bag.evm photo.jpg folder/ --json
    """
    from edgeveil.agent.cli.video import is_watched, watch
    from edgeveil.agent.inference.video.frames import Pace
    from edgeveil.shared.base.errors import ConfigError

    if as_json and as_csv:
        raise ConfigError("--json and --csv: choose one")
    pace = Pace(every, fps, seconds)
    opened = _opened(model, home, trust, threads)
    if (draw is not None or count is not None) and opened.finder is None:
        raise ConfigError("--draw and --count: this model finds no boxes")
    least = least_score(opened, threshold)
    if rules is not None and count is None:
        raise ConfigError(
            "--rules: with --count alone; agent serve and agent watch follow rules too"
        )
    if is_watched(inputs, count, draw):
        from edgeveil.agent.cli.rules.at_work import counted

        with counted(console.home_of(ROLE, home), rules, opened) as happened:
            watch(
                opened, inputs[0], pace,
                count=count, draw=draw, least_score=least, as_json=as_json, happened=happened,
            )  # fmt: skip
        return
    show = json_lines if as_json else _csv_lines if as_csv else _tables
    quiet = not (as_json or as_csv) and console.stdout.is_terminal
    _predict(opened, inputs, pace, draw=draw, least=least, show=show, quiet=quiet)


def least_score(opened: "Model", threshold: float | None) -> float:
    """From which score on labels and boxes are told; of a model that tells odd records it is set. Raises ConfigError."""
    from edgeveil.agent.inference.boxes import SHOWN
    from edgeveil.shared.base.errors import ConfigError

    kind = opened.manifest.output.kind
    if threshold is None or kind == "oddness":
        opened.threshold = opened.threshold if threshold is None else threshold
        return SHOWN if opened.finder is not None else 0.0
    if kind == "number":
        raise ConfigError("--threshold: this model gives a number, and has no score")
    if threshold > 1:
        raise ConfigError(f"--threshold {threshold:g}: scores of this model are at most 1")
    return threshold


def _predict(
    opened: "Model",
    inputs: list[str],
    pace: "Pace",
    *,
    draw: Path | None,
    least: float,
    show: Callable[[Iterator["Answer"], float], tuple[int, int]],
    quiet: bool,
) -> None:
    """Show what is said of each record; raises DataError, at last, if some could not be used."""
    from edgeveil.agent.inference.inputs import find
    from edgeveil.agent.inference.predicting import predictions
    from edgeveil.shared.base.errors import DataError
    from edgeveil.shared.terminal.progress import progress

    found = find(inputs, opened.input)
    if found.others:
        console.stderr.print(f"{found.others} files in folders are nothing that this model takes")
    with progress("predicting", len(found.paths), quiet=quiet) as step:
        answers = predictions(opened, found.paths, sys.stdin.buffer, step, pace)
        kept = answers if draw is None else _drawn(answers, opened.labels, least, draw)
        read, left = show(kept, least)
    if left or not read:
        raise DataError(
            f"{left} of {read + left} inputs could not be used"
            if left
            else "nothing to predict: no picture, recording, moment or array among the inputs"
        )


def evaluate(
    model: ModelArgument,
    data: Annotated[
        Path, Option("--data", help="Labelled records as for training: a folder, or an .npz file.")
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
    from edgeveil.shared.pages.views import evaluation_page
    from edgeveil.shared.terminal.views import print_views

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
        task, origin = opened.manifest.task, opened.manifest.origin
        known = {
            **about,
            "task": f"{task.id} {task.version}",
            "run": f"{origin.run}, round {origin.round}"
            + (", simulated: on made-up devices" if origin.simulated else ""),
            "left out": left,
        }
        write_file(html, evaluation_page(known, found.views).encode())
        console.stderr.print(f"wrote {html}")
    elif not as_json:
        print_views(found.views)


def _opened(path: Path, home: Path | None, trust: str | None, threads: int) -> "Model":
    from edgeveil.agent.inference.runtime import open_model

    opened = open_model(path, trust=trust, home=console.home_of(ROLE, home), threads=threads)
    if opened.notice:
        console.warn(f"{path}: {opened.notice}")
    return opened


def _answers(answers: Iterator["Answer"], counts: list[int]) -> Iterator[tuple[str, "Said"]]:
    """Those that are predictions; all others are told at once. `counts`: read, left out."""
    for name, prediction, why in answers:
        if prediction is None:
            counts[1] += 1
            console.stderr.print(f"left out: {name}: {why}")
        else:
            counts[0] += 1
            yield name, prediction


def _drawn(
    answers: Iterator["Answer"], labels: tuple[str, ...], threshold: float, folder: Path
) -> Iterator["Answer"]:
    """The same answers; pictures that come from files are drawn on the way."""
    from edgeveil.agent.inference.boxes import Boxes
    from edgeveil.agent.inference.drawing import write_drawn

    for name, found, why in answers:
        if isinstance(found, Boxes) and Path(name).is_file():
            write_drawn(name, found.above(threshold), labels, folder)
        yield name, found, why


def json_lines(answers: Iterator["Answer"], threshold: float) -> tuple[int, int]:
    from edgeveil.shared.base.json_text import readable

    counts = [0, 0]
    for name, found in _answers(answers, counts):
        values = {"input": name, **found.as_json(threshold)}
        console.write_json([readable(values, tight=True), "\n"])
    return counts[0], counts[1]


def _csv_lines(answers: Iterator["Answer"], threshold: float) -> tuple[int, int]:
    """A line for each record, or for each box."""
    from edgeveil.shared.pages.text import harmless

    counts = [0, 0]
    writer = csv.writer(sys.stdout, lineterminator="\n")
    begun = False
    for name, found in _answers(answers, counts):
        if not begun:
            writer.writerow(("input", *(each.lstrip(">") for each in _headings(found))))
            begun = True
        for line in _lines(found, threshold):
            writer.writerow((harmless(name), *(harmless(_plain(each)) for each in line)))
    if not begun:
        writer.writerow(("input", "label", "score"))
    return counts[0], counts[1]


def _plain(value: str | float | bool | None) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else f"{value:.7g}"


def _tables(answers: Iterator["Answer"], threshold: float) -> tuple[int, int]:
    from edgeveil.agent.inference.boxes import Boxes

    counts = [0, 0]
    made = None
    for name, found in _answers(answers, counts):
        if made is None:
            made = console.table("Predictions", "input", *_headings(found))
        boxes = isinstance(found, Boxes)
        for line in _lines(found, threshold) or [(None, 0.0)]:
            made.add_row(name, *_shown(line, boxes=boxes))
        if made.row_count >= ROWS:
            console.stdout.print(made)
            made = None
    if made is not None:
        console.stdout.print(made)
    return counts[0], counts[1]


def _shown(line: tuple[Any, ...], *, boxes: bool) -> Iterator[str]:
    """A label, and its score in percent; of boxes also whole pixels; else as many digits as there are."""
    label, *rest = line
    if isinstance(label, str) or label is None:
        score, *places = rest
        yield label or "–"
        yield f"{score:.1%}" if label or not boxes else "–"
        yield from (f"{x:.0f}" for x in places)
        return
    yield from ("–" if each is None else _plain(each) for each in line)


def _headings(found: "Said") -> tuple[str, ...]:
    """Of what _lines() gives; those of numbers begin with ">"."""
    from edgeveil.agent.inference.boxes import Boxes
    from edgeveil.agent.inference.values.numbers import Number, Oddity

    if isinstance(found, Number):
        return (">value",)
    if isinstance(found, Oddity):
        return (">score", ">threshold", "anomalous")
    return ("label", ">score", *((">x1", ">y1", ">x2", ">y2") if isinstance(found, Boxes) else ()))


def _lines(found: "Said", threshold: float) -> list[tuple[Any, ...]]:
    """(label or None, score), with four corners for each box of a detector; or what a model without labels says."""
    from edgeveil.agent.inference.boxes import Boxes
    from edgeveil.agent.inference.values.numbers import Number, Oddity

    if isinstance(found, Number | Oddity):
        return [tuple(found.as_json().values())]
    if isinstance(found, Boxes):
        return [(b.label, b.score, b.x1, b.y1, b.x2, b.y2) for b in found.above(threshold).boxes]
    return [(found.label if found.score >= threshold else None, found.score)]
