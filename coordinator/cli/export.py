"""What leaves a coordinator: figures of a run for tools that the operator has, models as packages."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from edgeveil.coordinator.cli.look import NO_RUN, RunArgument
from edgeveil.shared.terminal import console
from edgeveil.shared.terminal.console import HomeOption, JsonOption, home_of, print_json, stdout

app = typer.Typer()
model_app = typer.Typer(help="Model packages: make, look at, verify.", no_args_is_help=True)
ROLE = "coordinator"


FileArgument = Annotated[Path, Argument(metavar="FILE", help="A model package, NAME.evm.")]


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


@app.command()
def evaluate(
    what: Annotated[str, Argument(metavar="MODEL", help="A package NAME.evm, or a run.")],
    data: Annotated[
        Path, Option("--data", help="Labelled records as the task reads them on a device.")
    ],
    home: HomeOption = None,
    which: Annotated[
        str | None,
        Option("--round", metavar="N|best|last", help="Of a run [default: the best, or the last]."),
    ] = None,
    trust: Annotated[
        str | None,
        Option("--trust", metavar="KEY", help="Who must have signed [default: this coordinator]."),
    ] = None,
    html: Annotated[
        Path | None, Option("--html", metavar="FILE", help="Write one HTML file instead.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """How well a model does on labelled records of this machine, by its own task. Needs torch.

    Example: coordinator evaluate bag.evm --data ./photos
    """
    from edgeveil.coordinator.models.evaluating import evaluate as evaluated
    from edgeveil.shared.base.files import write_file
    from edgeveil.shared.pages.views import evaluation_page
    from edgeveil.shared.terminal.views import print_views

    found = evaluated(home_of(ROLE, home), what, which, data, trust, quiet=as_json)
    if as_json:
        print_json(found.as_json())
    if html is not None:
        write_file(html, evaluation_page(found.about | dict(found.figures), found.views).encode())
        console.stderr.print(f"wrote {html}")
    elif not as_json:
        made = console.table("Evaluation", "figure", ">value")
        for name, value in found.figures:
            made.add_row(name, value)
        stdout.print(made)
        print_views(found.views)


@app.command()
def models(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """What every run has learned: best and last round, metric, ε at most, size, which rounds were exported.

    Example: coordinator models
    """
    from edgeveil.coordinator.models.listing import models as listed

    found = listed(home_of(ROLE, home))
    if as_json:
        print_json(found)
        return
    if not found:
        console.stderr.print(f"no run has committed a round yet; {NO_RUN}")
        return
    made = console.table(
        "Models",
        "run",
        "state",
        "task",
        "metric",
        ">best",
        ">last",
        ">ε at most",
        ">bytes",
        "exported",
    )
    for row in found:
        made.add_row(
            row["run"], row["state"], row["task"], row["metric"], _round(row["best"]),
            _round(row["last"]), _spent(row),
            "gone" if row["bytes"] is None else f"{row['bytes']:,}",
            ", ".join(map(str, row["exported"])) or "–",
        )  # fmt: skip
    if not any(row["exported"] for row in found):
        made = console.without(made, {"exported"})
    stdout.print(console.fit(made, stdout, "state", "bytes", "task", "exported"))


def _spent(row: dict[str, Any]) -> str:
    from edgeveil.shared.privacy.unlimited import shown

    sums = row.get("epsilon_sum_at_most")
    return shown(row["epsilon_at_most"], ".3f") + ("" if sums is None else f"; sums {sums:.3f}")


@model_app.command("export")
def export_model(
    target: Annotated[Path, Option("-o", "--output", metavar="FILE", help="NAME.evm, to write.")],
    run_id: RunArgument = None,
    home: HomeOption = None,
    which: Annotated[
        str | None,
        Option("--round", metavar="N|best|last", help="[default: the best, or the last]"),
    ] = None,
    licence: Annotated[
        str, Option("--licence", metavar="TEXT", help="Under which others may use the model.")
    ] = "not stated",
    as_json: JsonOption = False,
) -> None:
    """Package a run's model: ONNX graph, weights and a signed manifest in one file, compared with torch.

    Example: coordinator model export run-20260131-120000-9f3c07d1 -o bag.evm
    """
    from edgeveil.coordinator.models.export import export

    found = export(home_of(ROLE, home), run_id, which, target, licence=licence)
    if as_json:
        print_json(found)
        return
    console.stderr.print(
        f"wrote {found['file']}: round {found['round']} of {found['run']}, {found['bytes']:,} bytes"
    )
    stdout.print(f"signed by {found['signer']}")


@model_app.command()
def publish(
    what: Annotated[
        str | None,
        Argument(
            metavar="RUN|FILE", help="A run, or a package NAME.evm [default: the newest run]."
        ),
    ] = None,
    home: HomeOption = None,
    which: Annotated[
        str | None,
        Option("--round", metavar="N|best|last", help="[default: the best, or the last]"),
    ] = None,
    to: Annotated[
        str | None, Option("--to", metavar="NAME,…", help="Agents [default: every member].")
    ] = None,
    licence: Annotated[
        str, Option("--licence", metavar="TEXT", help="Under which others may use the model.")
    ] = "not stated",
    as_json: JsonOption = False,
) -> None:
    """Sign a model and offer it to the members; whose policy says so takes it at once.

    Example: coordinator model publish --round best
    """
    from edgeveil.coordinator.cli.operator import publish_model

    names = None if to is None else [name.strip() for name in to.split(",") if name.strip()]
    found = publish_model(home_of(ROLE, home), what, which, names, licence)
    if as_json:
        print_json(found)
        return
    whom = "every member" if found["to"] is None else ", ".join(found["to"])
    when = "" if found["live"] else "; coordinator serve offers it when it runs"
    stdout.print(
        f"published {found['serial']}: round {found['round']} of {found['run']}, "
        f"{found['bytes']:,} bytes, to {whom}{when}"
    )


@model_app.command()
def withdraw(
    which: Annotated[
        str, Argument(metavar="SERIAL", help="As coordinator model published shows it.")
    ],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Offer a published model no more. Devices that have it keep it: publish a better one to replace it.

    Example: coordinator model withdraw 1769860800
    """
    from edgeveil.coordinator.cli.operator import withdraw_model

    found = withdraw_model(home_of(ROLE, home), which)
    if as_json:
        print_json(found)
        return
    stdout.print(f"withdrawn {found['serial']}: round {found['round']} of {found['run']}")


@model_app.command("published")
def show_published(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """What is offered to whom, how many have fetched it, and who says to use it.

    Example: coordinator model published
    """
    from edgeveil.coordinator.cli.operator import published_models

    found = published_models(home_of(ROLE, home))
    if as_json:
        print_json(found)
        return
    if not found:
        console.stderr.print("nothing is published; coordinator model publish RUN offers a model")
        return
    made = console.table(
        "Published models", "serial", "run", ">round", "to", "privacy", ">fetched", ">told in use"
    )
    for row in found:
        whom = "every member" if row["to"] is None else ", ".join(row["to"])
        made.add_row(
            str(row["serial"]), row["run"], str(row["round"]), whom, row["privacy"] or "file gone",
            "–" if row["fetched"] is None else str(len(row["fetched"])),
            "–" if row["in_use"] is None else str(len(row["in_use"])),
        )  # fmt: skip
    stdout.print(made)


@model_app.command()
def show(file: FileArgument, as_json: JsonOption = False) -> None:
    """What a package says of itself: task, labels, run, privacy, figures, parts.

    Example: coordinator model show bag.evm
    """
    from edgeveil.shared.models.package import read_package

    found = read_package(file)
    told = found.manifest.model_dump(mode="json")
    if as_json:
        print_json({"model": found.digest, "signer": found.signer.hex(), "manifest": told})
        return
    made = console.table(str(file), "what", "value")
    if found.manifest.origin.simulated:
        made.add_row("simulated", "on made-up devices")
    for name, value in _rows(told):
        made.add_row(name, value)
    made.add_row("signer", found.signer.hex())
    stdout.print(made)


@model_app.command()
def verify(
    file: FileArgument,
    home: HomeOption = None,
    trust: Annotated[
        str | None,
        Option("--trust", metavar="KEY", help="Who must have signed [default: this coordinator]."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check form, hashes, signature and graph of a package. Ends with 0, 65 (damaged) or 77 (another signer).

    Example: coordinator model verify bag.evm
    """
    from edgeveil.coordinator.models.verify import verify as verified

    found = verified(file, home_of(ROLE, home), trust)
    if as_json:
        print_json(found)
        return
    stdout.print(f"{file}: whole, and signed by {found['signer']} ({found['whose']})")


@model_app.command()
def mobile(
    file: FileArgument,
    target: Annotated[
        Path, Option("-o", "--output", metavar="FILE", help="NAME.pte or NAME.tflite, to write.")
    ],
    kind: Annotated[
        str, Option("--format", metavar="executorch|litert", help="Of which runtime.")
    ] = "executorch",
    home: HomeOption = None,
    trust: Annotated[
        str | None,
        Option("--trust", metavar="KEY", help="Who must have signed [default: this coordinator]."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """A package's model for ExecuTorch or LiteRT, one record at a time, run here and compared with the package.

    Example: coordinator model mobile bag.evm -o bag.pte
    """
    from edgeveil.coordinator.models.mobile import convert

    found = convert(home_of(ROLE, home), file, kind, target, trust)
    if as_json:
        print_json(found)
        return
    shape = "x".join(map(str, found["record"]))
    stdout.print(
        f"wrote {found['file']}: {found['bytes']:,} bytes, takes {shape}, off by {found['away']:.1g} of what the package gives"
    )


def _round(scored: dict[str, Any] | None) -> str:
    return "–" if scored is None else f"{scored['round']}: {scored['shown']}"


def _rows(told: dict[str, Any], before: str = "") -> list[tuple[str, str]]:
    """Names with dots, and their values as text."""
    rows: list[tuple[str, str]] = []
    for name, value in told.items():
        if isinstance(value, dict):
            rows += _rows(value, f"{before}{name}.")
        else:
            shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            rows.append((f"{before}{name}", shown))
    return rows
