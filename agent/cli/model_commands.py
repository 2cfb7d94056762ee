"""`agent model`: models that came from the coordinator or from a file, and which of them is in use."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from edgeveil.shared.terminal import console

model_app = typer.Typer(
    help="Models on this device: fetch, list, use, go back.", no_args_is_help=True
)
ROLE = "agent"
TrustOption = Annotated[
    str | None,
    Option(
        "--trust",
        metavar="KEY",
        help="Who must have signed it [default: the coordinator this device joined].",
    ),
]


@model_app.command()
def get(
    home: console.HomeOption = None,
    trust: TrustOption = None,
    keep: Annotated[bool, Option("--keep", help="Fetch and check it, but do not use it.")] = False,
    as_json: console.JsonOption = False,
) -> None:
    """Fetch the newest model that the coordinator offers, check it, and use it. Nothing else is told.

    Example: agent model get
    """
    from edgeveil.agent.delivery.client import ModelClient
    from edgeveil.agent.delivery.fetching import fetch, signer_here
    from edgeveil.agent.delivery.kept import KeptModels
    from edgeveil.agent.delivery.receiving import receive, tried
    from edgeveil.shared.base.errors import ModelError
    from edgeveil.shared.models.package import parse_key

    folder = console.home_of(ROLE, home)
    signer = signer_here(folder, None if trust is None else parse_key(trust))
    models = KeptModels(folder)
    client = ModelClient(folder)
    try:
        offer = client.ask(models.index().fetched, wait=False)
        kept = None if offer is None else fetch(client, folder, offer, signer)
    finally:
        client.close()
    if kept is None:
        if as_json:
            console.print_json({"fetched": None})
        else:
            console.stderr.print("nothing newer is offered; agent model list shows what is here")
        return
    if keep:
        tried(folder, kept)
        note = "kept, as asked"
    else:
        note = receive(folder, kept)
    if as_json:
        console.print_json({"fetched": kept.model, "used": not note, "note": note})
    elif not note or keep:
        console.stdout.print(f"{_named(kept)}: {note or 'in use now'}")
    if note and not keep:
        raise ModelError(f"{_named(kept)} is not used: {note}")


@model_app.command("list")
def show(home: console.HomeOption = None, as_json: console.JsonOption = False) -> None:
    """The models on this device: which is in use, which was before, and why one is not used.

    Example: agent model list
    """
    from edgeveil.agent.delivery.kept import KeptModels

    index = KeptModels(console.home_of(ROLE, home)).index()
    if as_json:
        console.print_json([_line(each, index) for each in index.models])
        return
    if not index.models:
        console.stderr.print("no model is here yet; agent model get fetches one")
        return
    made = console.table("Models", "model", "is", "run", ">round", "privacy", "note")
    for each in index.models:
        row = _line(each, index)
        stranger = "" if each.vouched else f"signed by {each.signer}, unknown here"
        note = each.note or each.made or stranger
        made.add_row(each.model[:12], row["is"], each.run, str(each.round), each.privacy, note)
    console.stdout.print(made)


@model_app.command()
def use(
    which: Annotated[
        str, Argument(metavar="MODEL|FILE", help="As agent model list shows it, or NAME.evm.")
    ],
    home: console.HomeOption = None,
    trust: TrustOption = None,
    older: Annotated[
        bool, Option("--older", help="Also a file of before the model in use was made.")
    ] = False,
) -> None:
    """Put a model to use that is here, or a package file. Its self-test has to pass, nothing else is asked.

    Example: agent model use bag.evm
    """
    from edgeveil.agent.delivery.kept import KeptModels
    from edgeveil.agent.delivery.receiving import take_file, tried
    from edgeveil.agent.measuring.bench import in_short
    from edgeveil.shared.models.package import read_package

    folder = console.home_of(ROLE, home)
    models = KeptModels(folder)
    if which.endswith(".evm"):
        kept, notice = take_file(folder, Path(which), trust, older=older)
        if notice:
            console.warn(f"{which}: {notice}")
    else:
        kept = models.called(which)
        tried(folder, kept)
    speed = in_short(read_package(models.path(kept.model)))
    models.use(kept.model)
    console.stdout.print(f"{_named(kept)}: in use now; {speed}")


@model_app.command()
def threshold(
    model: Annotated[
        Path | None,
        Argument(metavar="[MODEL]", help="A model package [default: the model in use here]."),
    ] = None,
    data: Annotated[
        Path | None,
        Option("--data", help="Records of this device, those without an odd label count."),
    ] = None,
    false_alarms: Annotated[
        float | None,
        Option(
            "--false-alarms", min=0.00001, max=0.5, help="Of normal records [default: the model's]."
        ),
    ] = None,
    home: console.HomeOption = None,
    trust: TrustOption = None,
    as_json: console.JsonOption = False,
) -> None:
    """From which score on a record is odd on this device: found on its own normal records, and told to nobody.

    Take records that the model was not trained on. Without --data the threshold that is kept is shown.

    Example: agent model threshold bag.evm --data ./last-week --false-alarms 0.01
    """
    from edgeveil.agent.delivery.kept import KeptModels
    from edgeveil.agent.delivery.threshold import threshold_of
    from edgeveil.agent.inference.runtime import open_model

    folder = console.home_of(ROLE, home)
    if model is None:
        kept = KeptModels(folder)
        opened = open_model(kept.path(kept.in_use().model), trust=trust or kept.in_use().signer)
    else:
        opened = open_model(model, trust=trust, home=folder)
    found = threshold_of(opened, folder, data, false_alarms)
    if as_json:
        console.print_json(found)
    else:
        console.stdout.print(
            f"{opened.digest[:12]}: above {found['threshold']:.7g} a record is odd here; {found['from']}"
        )


@model_app.command()
def rollback(home: console.HomeOption = None) -> None:
    """Use the model from before again. The one in use is kept and not taken again by itself.

    Example: agent model rollback
    """
    from edgeveil.agent.delivery.kept import KeptModels

    kept = KeptModels(console.home_of(ROLE, home)).roll_back("taken back by hand")
    console.stdout.print(f"{_named(kept)}: in use again")


def _named(kept: Any) -> str:
    return f"{kept.model[:12]} (round {kept.round} of {kept.run})"


def _line(each: Any, index: Any) -> dict[str, Any]:
    role = {index.before: "before", index.in_use: "in use"}.get(each.model, "")
    return {**each.model_dump(), "is": role}
