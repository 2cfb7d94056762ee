"""`coordinator export`: the figures of a run for tools that the operator has already."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Option

from edgeveil.coordinator.cli.look import RunArgument
from edgeveil.shared.terminal.console import HomeOption, JsonOption, home_of, print_json, stdout

app = typer.Typer()
ROLE = "coordinator"


@app.command()
def export(
    run_id: RunArgument = None,
    home: HomeOption = None,
    tensorboard: Annotated[
        Path | None, Option("--tensorboard", metavar="DIR", help="Event files in DIR/RUN.")
    ] = None,
    mlflow: Annotated[
        str | None, Option("--mlflow", metavar="URI", help="A server, or sqlite:///FILE.")
    ] = None,
    experiment: Annotated[str, Option(help="Of MLflow.")] = "edgeveil",
    as_json: JsonOption = False,
) -> None:
    """Sums and averages of a run, by round, for TensorBoard or MLflow; once more adds only what is new.

    Example: coordinator export --tensorboard boards
    """
    from edgeveil.coordinator.reports.reading import run_facts
    from edgeveil.shared.base.errors import ConfigError

    if tensorboard is None and mlflow is None:
        raise ConfigError("name where to: --tensorboard DIR, --mlflow URI, or both")
    found = run_facts(home_of(ROLE, home), run_id, quiet=as_json)
    told: dict[str, Any] = {"run": found.run.run_id}
    if tensorboard is not None:
        told["tensorboard"] = _to_tensorboard(found, tensorboard, quiet=as_json)
    if mlflow is not None:
        told["mlflow"] = _to_mlflow(found, mlflow, experiment, quiet=as_json)
    if as_json:
        print_json(told)
        return
    for tool in ("tensorboard", "mlflow"):
        if tool in told:
            new, where = told[tool]["new"], told[tool]["where"]
            stdout.print(f"{found.run.run_id}: {new} new values in {where}")


def _to_tensorboard(found: Any, folder: Path, *, quiet: bool) -> dict[str, Any]:
    from edgeveil.coordinator.reports.exports.points import points
    from edgeveil.coordinator.reports.exports.tensorboard_files import export
    from edgeveil.shared.terminal.progress import progress

    made, target = list(points(found)), folder / found.run.run_id
    with progress("TensorBoard", sum(len(p.values) for p in made), quiet=quiet) as step:
        return {"where": str(target), "new": export(target, made, step)}


def _to_mlflow(found: Any, uri: str, experiment: str, *, quiet: bool) -> dict[str, Any]:
    from edgeveil.coordinator.reports.exports.mlflow_store import Target, export
    from edgeveil.coordinator.reports.exports.points import points, settings
    from edgeveil.shared.terminal.progress import progress

    made = list(points(found))
    with progress("MLflow", sum(len(p.values) for p in made), quiet=quiet) as step:
        new = export(Target(uri, experiment), found.run, settings(found), made, step)
    return {"where": uri, "experiment": experiment, "new": new}
