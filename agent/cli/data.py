"""`agent data`: what of a data set can be used, a first schema.toml, boxes in another format. Nothing is sent."""

import re
from collections import Counter
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from edgeveil.shared.terminal import console

if TYPE_CHECKING:
    from edgeveil.shared.data.boxes.formats.annotated import Note
    from edgeveil.shared.data.left_out import LeftOut

ROLE = "agent"
FIRST, ALIKE = 5, 2  # sentences of one reason, and of those that differ in figures and names alone
FIGURES = re.compile(
    r"[0-9]+|'[^']*'"
)  # of a line, of a cell: what tells sentences of one kind apart


class Form(StrEnum):
    COCO = "coco"
    VOC = "voc"
    YOLO = "yolo"


data_app = typer.Typer(help="The owner's records: what can be used of them.", no_args_is_help=True)


@data_app.command()
def schema(
    data: Annotated[Path, Argument(help="Folder of .csv or .parquet files, or one file.")],
    *,
    force: Annotated[bool, Option("--force", help="Replace a schema.toml that is there.")] = False,
) -> None:
    """Write a first schema.toml beside tables: columns, types, a guess at roles. You complete it; nothing is sent.

    Example: agent data schema ./sensors
    """
    from edgeveil.shared.base.errors import ConfigError
    from edgeveil.shared.base.files import write_file
    from edgeveil.shared.data.tabular.draft import draft
    from edgeveil.shared.data.tabular.layout import schema_of

    path = data.expanduser().absolute()
    target = schema_of(path)
    if target.exists() and not force:
        raise ConfigError(f"{target}: this file is there already; --force replaces it")
    write_file(target, draft(path).encode())
    console.stdout.print(
        f"{target}: written; give each feature its range, then: agent data check --data {data}"
    )


@data_app.command()
def check(
    data: Annotated[
        Path | None,
        Option(
            "--data",
            envvar="EDGEVEIL_DATA",
            show_envvar=False,
            help="Folder, .npz, .csv or .parquet file [default: what this device trains on].",
        ),
    ] = None,
    sheet: Annotated[
        Path | None,
        Option(
            "--sheet",
            help="Also write a page of pictures as a task sees them, boxes drawn, to this .html file.",
        ),
    ] = None,
    home: console.HomeOption = None,
    as_json: console.JsonOption = False,
) -> None:
    """Read every record as `agent run` would, and list what is left out and why. Nothing is sent.

    Ends with 0 if at least one record can be used, else with 65.

    Example: agent data check --data ./photos
    """
    from edgeveil.shared.base.errors import DataError

    where = console.home_of(ROLE, home)
    found = examine(where, data)
    if sheet is not None:
        write_sheet(where, sheet, found)
    if as_json:
        console.print_json(found)
    else:
        _show(found)
    if found["usable"] == 0:
        raise DataError(f"{found['data']}: no record can be used{_because(found)}")


@data_app.command()
def convert(
    source: Annotated[Path, Argument(help="Folder of pictures with boxes.")],
    target: Annotated[Path, Argument(help="A new folder.")],
    *,
    to: Annotated[Form, Option("--to", help="The format to write.")],
    of: Annotated[
        Form | None, Option("--from", help="The format to read [default: as the names show].")
    ] = None,
) -> None:
    """Write pictures with boxes in another format: COCO, Pascal VOC, YOLO. Nothing is sent.

    Ends with 65 if no picture can be used.

    Example: agent data convert --from voc --to coco ./camera ./camera-coco
    """
    from edgeveil.shared.data.boxes.writing import convert as write
    from edgeveil.shared.data.left_out import total

    root = source.expanduser().absolute()
    found = write(root, target.expanduser().absolute(), from_form=of and of.value, to_form=to.value)
    console.stdout.print(f"{target}: {found.pictures:,} pictures with {found.boxes:,} boxes")
    if found.left:
        console.stdout.print(_left(_reasons(found.left, root)))
        console.stderr.print(f"{total(found.left):,} left out")
    if found.notes:
        console.stdout.print(_faults(_noted(found.notes, root)))


def examine(home: Path, data: Path | None) -> dict[str, Any]:
    """Everything there is to say; under the policy's [data] if this home has one, else as it would be written.

    Raises:
        ConfigError: no data folder was named, or a file of the home is wrong.
        DataError: there is nothing that could be read.
    """
    from edgeveil.agent.home.config import settle
    from edgeveil.agent.home.data import check_folder
    from edgeveil.agent.home.records.record_policy import record_policy
    from edgeveil.shared.data.left_out import total
    from edgeveil.shared.data.schema import MOST_LABELS
    from edgeveil.shared.tasks.backbone.photos import suited

    path = check_folder(settle(home, data, None).data)
    pinned = _pinned(home)
    schema = pinned or suited(path)
    if len(schema.labels) > MOST_LABELS:
        record_policy(schema)  # as the first start would: it says why no policy can hold them
    survey = schema.survey(path)
    return {
        "data": str(path),
        "kind": schema.kind,
        **_form(schema),
        "pinned": pinned is not None,
        "usable": sum(survey.usable),
        "left_out": total(survey.left),
        "classes": dict(zip(schema.labels, _counted(survey), strict=False)),
        "reasons": _reasons(survey.left, path),
        "advice": survey.advice,
        **_cut(survey),
        **_boxes(survey, path),
    }


def _counted(survey: Any) -> tuple[int, ...]:
    """Records of each class; boxes, where these are what has a class."""
    return tuple(getattr(survey, "objects", survey.usable))


def _boxes(survey: Any, root: Path) -> dict[str, Any]:
    """What there is to say of pictures with boxes alone."""
    if not hasattr(survey, "notes"):
        return {}
    faults = _noted(survey.notes, root)
    return {"pictures": survey.pictures, "empty": survey.empty, "box_faults": faults}


def _noted(notes: Iterable["Note"], root: Path) -> list[dict[str, Any]]:
    return [
        {
            "fault": note.fault.value,
            "count": note.count,
            "first": [name.removeprefix(f"{root}/") for name in note.first],
        }
        for note in notes
    ]


def write_sheet(home: Path, target: Path, found: dict[str, Any]) -> None:
    """A page of thumbnails that only its owner may read.

    Raises:
        ConfigError: the target is no .html file, or cannot be written.
        DataError: the records are no pictures, or too many for memory.
    """
    import math

    from edgeveil.agent.home.data import check_fits
    from edgeveil.agent.home.records.sheet import sheet
    from edgeveil.agent.reports.box_sheet import box_sheet
    from edgeveil.shared.base.errors import ConfigError, DataError
    from edgeveil.shared.base.files import write_file
    from edgeveil.shared.data.boxes.schema import BoxSchema
    from edgeveil.shared.data.probe import count_records
    from edgeveil.shared.tasks.backbone.photos import suited

    if target.suffix != ".html":
        raise ConfigError(f"--sheet {target}: the name of a page ends with .html")
    path = Path(found["data"])
    schema: Any = _pinned(home) or suited(path)
    if isinstance(schema, BoxSchema):
        told = {"records": found["usable"], "left out": found["left_out"]}
        about = {"folder": path, **{name: f"{count:,}" for name, count in told.items()}}
        text = box_sheet(path, schema, about)
    elif schema.kind == "images":
        check_fits(path, math.prod(schema.shape), count_records(path))
        text = sheet(schema.read(path), schema.labels, path)
    else:
        raise DataError(f"{path}: a sheet shows pictures, and these records are {schema.kind}")
    write_file(target, text.encode())
    console.stderr.print(f"{target}: written, readable by you alone")


def _ranges(found: dict[str, Any]) -> Any:
    made = console.table("Columns", "column", ">lowest", ">highest", ">values cut to this range")
    for name, (low, high) in found["ranges"].items():
        cut = found["cut_to_range"].get(name.partition(" [")[0], 0)
        made.add_row(name, f"{low:g}", f"{high:g}", f"{cut:,}" if cut else "")
    return made


def _form(schema: Any) -> dict[str, Any]:
    """What a record of this kind is."""
    if schema.kind == "images":
        height, width, channels = schema.shape
        return {"height": height, "width": width, "channels": channels}
    if schema.kind == "boxes":
        return {"side": schema.side, "tile": schema.tile, "difficult": schema.difficult}
    if schema.kind in {"sounds", "pairs"}:
        seen = zip(("height", "width", "channels"), getattr(schema, "picture", ()), strict=False)
        heard = {"rate": schema.rate, "length_ms": schema.length_ms} if schema.rate else {}
        moved = getattr(schema, "window", 0)
        felt = {"columns": list(schema.columns), "window": moved} if moved else {}
        return {**dict(seen), **heard, **felt}
    return {
        "columns": list(schema.columns),
        "target": schema.target,
        "window": schema.window,
        "step": schema.step,
    }


def _cut(survey: Any) -> dict[str, Any]:
    """The ranges of columns, how many values lay outside, and how many groups there are; nothing of pictures."""
    if not hasattr(survey, "clipped"):
        return {}
    ranges = {name: [low, high] for name, low, high in survey.ranges}
    return {"ranges": ranges, "cut_to_range": dict(survey.clipped), "groups": survey.groups}


def _pinned(home: Path) -> Any:
    """The schema that policy.toml holds; None without one."""
    from edgeveil.agent.home.policy import Policy

    file = home / "policy.toml"
    policy = Policy.load(file) if file.exists() else Policy.default()
    return None if policy.data is None else policy.data.as_schema()


def _reasons(left: Iterable["LeftOut"], root: Path) -> list[dict[str, Any]]:
    """Each reason with its count and its first sentences, with names as seen from `root`."""
    found: dict[str, dict[str, Any]] = {}
    told = Counter[tuple[str, str]]()
    for each in left:
        entry = found.setdefault(
            each.reason.value, {"reason": each.reason.value, "count": 0, "first": []}
        )
        entry["count"] += each.count
        kind = (each.reason.value, FIGURES.sub("", each.why))
        told[kind] += 1
        if len(entry["first"]) < FIRST and told[kind] <= ALIKE:
            name = each.name.removeprefix(f"{root}/")
            entry["first"].append(f"{name}: {each.why}")
    return list(found.values())


def _show(found: dict[str, Any]) -> None:
    fixed = "fixed in policy.toml" if found["pinned"] else "as the first start would fix it"
    out = console.stdout
    out.print(f"{found['data']}: {found['kind']}, {_described(found)} ({fixed})")
    out.print(_usable(found))
    if found["kind"] == "boxes":
        out.print(_squares(found))
    if found["reasons"]:
        out.print(_left(found["reasons"]))
    if found.get("box_faults"):
        out.print(_faults(found["box_faults"]))
    if found.get("ranges"):
        out.print(_ranges(found))
    if found.get("groups", 0) > 1:
        out.print(
            f"{found['groups']} groups: whole ones belong to a device or to the held-out data"
        )
    if found["advice"]:
        out.print(found["advice"])


def _usable(found: dict[str, Any]) -> Any:
    boxes = found["kind"] == "boxes"
    made = console.table("Usable", "class", ">boxes" if boxes else ">records")
    for label, count in found["classes"].items():
        made.add_row(label, f"{count:,}")
    if not boxes:
        made.add_row("all", f"{found['usable']:,}")
    return made


def _left(reasons: list[dict[str, Any]]) -> Any:
    made = console.table("Left out", "why", ">count", "the first")
    for entry in reasons:
        for at, sentence in enumerate(entry["first"]):
            again = at > 0
            made.add_row(
                "" if again else entry["reason"], "" if again else f"{entry['count']:,}", sentence
            )
    return made


def _faults(faults: list[dict[str, Any]]) -> Any:
    made = console.table("Boxes", "fault", ">count", "the first")
    for entry in faults:
        made.add_row(entry["fault"], f"{entry['count']:,}", ", ".join(entry["first"]))
    return made


def _squares(found: dict[str, Any]) -> str:
    """How many records, and of what privacy speaks where one picture is several."""
    empty = f"{found['empty']:,} of them without a box"
    if not found["tile"]:
        return f"{found['usable']:,} pictures, {empty}"
    return (
        f"{found['usable']:,} tiles of {found['pictures']:,} pictures, {empty}; each tile is a record: ε is of a "
        "tile, and a picture has as many times that as it has tiles"
    )


def _described(found: dict[str, Any]) -> str:
    seen = heard = ""
    if "channels" in found:
        colours = "grey" if found["channels"] == 1 else "in colours"
        seen = f"{found['height']}×{found['width']}, {colours}"
    if "rate" in found:
        heard = f"{found['length_ms'] / 1000:g} s at {found['rate']:,} samples a second"
    if seen or heard:
        felt = (
            f"{found['window']} rows of {', '.join(found['columns'])}" if "window" in found else ""
        )
        return " and ".join(filter(None, (seen, heard, felt)))
    if found["kind"] == "boxes":
        tiles = f", tiles of {found['tile']} pixels" if found["tile"] else ""
        return f"{found['side']}×{found['side']}, in colours{tiles}"
    columns = ", ".join(found["columns"])
    target = f", target {found['target']}" if found["target"] else ""
    groups = f", {found['groups']} groups" if found["groups"] > 1 else ""
    if not found["window"]:
        return f"{columns}{target}{groups}"
    overlap = found["window"] - found["step"]
    twice = (
        f", {overlap} rows of each also in the next: an event stands in two" if overlap > 0 else ""
    )
    return f"{found['window']} rows of {columns}{target}{groups}{twice}"


def _because(found: dict[str, Any]) -> str:
    first = found["advice"] or next((entry["first"][0] for entry in found["reasons"]), "")
    return f"; {first}" if first else ""
