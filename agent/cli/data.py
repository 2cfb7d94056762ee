"""`agent data check` and `agent data schema`: what of a data set can be used, and a first schema.toml. Nothing is sent."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from edgeveil.shared.terminal import console

if TYPE_CHECKING:
    from edgeveil.shared.data.left_out import LeftOut

ROLE = "agent"
FIRST = 5  # names shown for one reason
data_app = typer.Typer(help="The owner's records: what can be used of them.", no_args_is_help=True)


@data_app.command()
def schema(
    data: Annotated[Path, Argument(help="Folder of .csv files, or one file.")],
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
            help="Folder, .npz or .csv file [default: what this device trains on].",
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

    found = examine(console.home_of(ROLE, home), data)
    if as_json:
        console.print_json(found)
    else:
        _show(found)
    if found["usable"] == 0:
        raise DataError(f"{found['data']}: no record can be used{_because(found)}")


def examine(home: Path, data: Path | None) -> dict[str, Any]:
    """Everything there is to say; under the policy's [data] if this home has one, else as it would be written.

    Raises:
        ConfigError: no data folder was named, or a file of the home is wrong.
        DataError: there is nothing that could be read.
    """
    from edgeveil.agent.home.config import settle
    from edgeveil.agent.home.data import check_folder
    from edgeveil.shared.data.left_out import total
    from edgeveil.shared.tasks.backbone.photos import suited

    path = check_folder(settle(home, data, None).data)
    pinned = _pinned(home)
    schema = pinned or suited(path)
    survey = schema.survey(path)
    return {
        "data": str(path),
        "kind": schema.kind,
        **_form(schema),
        "pinned": pinned is not None,
        "usable": sum(survey.usable),
        "left_out": total(survey.left),
        "classes": dict(zip(schema.labels, survey.usable, strict=False)),
        "reasons": _reasons(survey.left, path),
        "advice": survey.advice,
        **_cut(survey),
    }


def _form(schema: Any) -> dict[str, Any]:
    """What a record of this kind is."""
    if schema.kind == "images":
        height, width, channels = schema.shape
        return {"height": height, "width": width, "channels": channels}
    if schema.kind in {"sounds", "pairs"}:
        seen = zip(("height", "width", "channels"), getattr(schema, "picture", ()), strict=False)
        return {**dict(seen), "rate": schema.rate, "length_ms": schema.length_ms}
    return {
        "columns": list(schema.columns),
        "target": schema.target,
        "window": schema.window,
        "step": schema.step,
    }


def _cut(survey: Any) -> dict[str, Any]:
    """Values that lay outside of the ranges, by column, and how many groups there are; nothing of pictures."""
    if not hasattr(survey, "clipped"):
        return {}
    return {"cut_to_range": dict(survey.clipped), "groups": survey.groups}


def _pinned(home: Path) -> Any:
    """The schema that policy.toml holds; None without one."""
    from edgeveil.agent.home.policy import Policy

    file = home / "policy.toml"
    policy = Policy.load(file) if file.exists() else Policy.default()
    return None if policy.data is None else policy.data.as_schema()


def _reasons(left: Iterable["LeftOut"], root: Path) -> list[dict[str, Any]]:
    """Each reason with its count and its first sentences, with names as seen from `root`."""
    found: dict[str, dict[str, Any]] = {}
    for each in left:
        entry = found.setdefault(
            each.reason.value, {"reason": each.reason.value, "count": 0, "first": []}
        )
        entry["count"] += each.count
        if len(entry["first"]) < FIRST:
            name = each.name.removeprefix(f"{root}/")
            entry["first"].append(f"{name}: {each.why}")
    return list(found.values())


def _show(found: dict[str, Any]) -> None:
    fixed = "fixed in policy.toml" if found["pinned"] else "as the first start would fix it"
    out = console.stdout
    out.print(f"{found['data']}: {found['kind']}, {_described(found)} ({fixed})")
    made = console.table("Usable", "class", ">records")
    for label, count in found["classes"].items():
        made.add_row(label, f"{count:,}")
    made.add_row("all", f"{found['usable']:,}")
    out.print(made)
    if found["reasons"]:
        made = console.table("Left out", "why", ">count", "the first")
        for entry in found["reasons"]:
            for at, sentence in enumerate(entry["first"]):
                again = at > 0
                made.add_row(
                    "" if again else entry["reason"],
                    "" if again else f"{entry['count']:,}",
                    sentence,
                )
        out.print(made)
    if found.get("cut_to_range"):
        made = console.table("Values cut to the range of their column", "column", ">values")
        for name, count in found["cut_to_range"].items():
            made.add_row(name, f"{count:,}")
        out.print(made)
    if found["advice"]:
        out.print(found["advice"])


def _described(found: dict[str, Any]) -> str:
    seen = heard = ""
    if "channels" in found:
        colours = "grey" if found["channels"] == 1 else "in colours"
        seen = f"{found['height']}×{found['width']}, {colours}"
    if "rate" in found:
        heard = f"{found['length_ms'] / 1000:g} s at {found['rate']:,} samples a second"
    if seen or heard:
        return " and ".join(filter(None, (seen, heard)))
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
