"""`agent data check`: what of a data set can be used, what is left out, and why. Nothing is sent or changed."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

from edgeveil.shared.terminal import console

if TYPE_CHECKING:
    from edgeveil.shared.data.left_out import LeftOut

ROLE = "agent"
FIRST = 5  # names shown for one reason
data_app = typer.Typer(help="The owner's records: what can be used of them.", no_args_is_help=True)


@data_app.callback()
def data() -> None:
    """Without it, typer would take the one command for the whole."""


@data_app.command()
def check(
    data: Annotated[
        Path | None,
        Option(
            "--data",
            envvar="EDGEVEIL_DATA",
            show_envvar=False,
            help="Folder or .npz file [default: what this device trains on].",
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
    height, width, channels = schema.shape
    return {
        "data": str(path),
        "kind": schema.kind,
        "height": height,
        "width": width,
        "channels": channels,
        "pinned": pinned is not None,
        "usable": sum(survey.usable),
        "left_out": total(survey.left),
        "classes": dict(zip(schema.labels, survey.usable, strict=True)),
        "reasons": _reasons(survey.left, path),
        "advice": survey.advice,
    }


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
    colours = "grey" if found["channels"] == 1 else "in colours"
    fixed = "fixed in policy.toml" if found["pinned"] else "as the first start would fix it"
    out = console.stdout
    out.print(
        f"{found['data']}: {found['kind']}, {found['height']}×{found['width']}, {colours} ({fixed})"
    )
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
    if found["advice"]:
        out.print(found["advice"])


def _because(found: dict[str, Any]) -> str:
    first = found["advice"] or next((entry["first"][0] for entry in found["reasons"]), "")
    return f"; {first}" if first else ""
