"""The `agent` command: parse, call one function, print. Heavy imports live inside commands."""

import sys
from pathlib import Path
from typing import Annotated, ClassVar, NoReturn

import typer
from rich.text import Text
from typer import Argument, Option

from edgeveil.agent.home.advice import advised
from edgeveil.shared.base.errors import PolicyRefusal
from edgeveil.shared.terminal import console
from edgeveil.shared.terminal.lazily import Lazily
from edgeveil.shared.terminal.telling import say


class Commands(Lazily):
    """A device that predicts shall not wait for what audits a training."""

    places: ClassVar = {
        name: f"edgeveil.agent.cli.{place}"
        for name, place in {
            "verify": "privacy:verify",
            "audit": "privacy:audit",
            "budget": "privacy:budget_app",
            "policy": "privacy:policy_app",
            "data": "data:data_app",
            "task": "tasks:task_app",
            "predict": "models:predict",
            "evaluate": "models:evaluate",
            "serve": "serving:serve",
            "watch": "serving:watch",
            "bench": "speed.bench:bench",
            "optimize": "speed.optimize:optimize",
            "model": "model_commands:model_app",
            "rules": "rules.commands:rules_app",
        }.items()
    }


app = typer.Typer(
    cls=Commands,
    help="Train on this device's own data; refuse rather than overspend its privacy budget.\n\n"
    "Start with: agent run --join TOKEN --data PATH",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
console.version_option(app)
ROLE = "agent"

DataOption = Annotated[
    Path | None,
    Option(
        "--data",
        envvar="EDGEVEIL_DATA",
        show_envvar=False,
        help="A folder: of pictures or recordings per class, of pictures with boxes, with the schema.toml of tables, "
        "or with the records.csv of moments; or an .npz file (docs/data.md).",
    ),
]
PolicyOption = Annotated[
    Path | None, Option("--policy", help="Install this file as the device's policy.toml.")
]
DatasetOption = Annotated[
    str | None, Option("--dataset", help="Name of the data set; one ledger each [default: data].")
]


def main() -> NoReturn:
    console.run(advised_app, ROLE)


def advised_app() -> None:
    """The commands, with what helps after each refusal's sentence."""
    try:
        app()
    except PolicyRefusal as error:
        raise type(error)(error.code, advised(error.code, error)) from error


@app.command()
def join(
    token: Annotated[str, Argument(help="The token, @FILE, or - for standard input.")],
    home: console.HomeOption = None,
    data: DataOption = None,
    policy: PolicyOption = None,
    dataset: DatasetOption = None,
    as_json: console.JsonOption = False,
) -> None:
    """Make this device's keys and enrol it with the coordinator that made the token.

    Example: agent join ev1.AbC… --data ./photos
    """
    from edgeveil.agent.rounds.run import join_device, read_token

    joined = join_device(
        console.home_of(ROLE, home),
        read_token(token),
        data=data,
        policy=policy,
        dataset=dataset,
        on_status=say,
        agree=_ask,
    )
    if as_json:
        console.print_json(
            {"name": joined.name, "agent_id": joined.agent_id.hex(), "state": joined.state}
        )
        return
    console.stdout.print(
        Text.assemble(
            "Joined as ",
            (joined.name, "bold"),
            f" ({joined.agent_id.hex()}), state: {joined.state}",
        )
    )
    console.stdout.print("Next: agent run" + ("" if data else " --data PATH"))


@app.command("run")
def run_agent(
    join_token: Annotated[
        str | None, Option("--join", metavar="TOKEN", help="Enrol first: the token, @FILE, or -.")
    ] = None,
    data: DataOption = None,
    home: console.HomeOption = None,
    policy: PolicyOption = None,
    dataset: DatasetOption = None,
    accept_policy: Annotated[
        bool, Option("--accept-policy", help="Confirm a policy.toml that allows more than before.")
    ] = False,
    page: Annotated[bool, Option("--page", help="Show the device's own page on loopback.")] = False,
    page_listen: Annotated[
        str, Option("--page-listen", metavar="HOST:PORT", help="Where, on loopback.")
    ] = "127.0.0.1:8481",
    quiet: Annotated[
        bool, Option("--quiet", "-q", help="Say nothing but errors on standard error.")
    ] = False,
) -> None:
    """Answer training rounds until interrupted.

    Example: agent run --join ev1.AbC… --data ./photos
    """
    from edgeveil.agent.rounds.run import read_token, run_device

    run_device(
        console.home_of(ROLE, home),
        token=read_token(join_token) if join_token else None,
        data=data,
        policy=policy,
        dataset=dataset,
        accept_policy=accept_policy,
        on_status=(lambda _sentence: None) if quiet else say,
        page=page_listen if page else None,
        quiet=quiet,
        agree=(lambda _question: None) if quiet else _ask,
    )


def _ask(question: str) -> None:
    """At a terminal, what is declared for good is the owner's word; elsewhere it is taken as told."""
    if sys.stdin.isatty() and not typer.confirm(question, default=True, err=True):
        console.stderr.print(
            "Nothing was declared or sent. Mend names and files, or declare them yourself, and start again: "
            'agent policy set data.height=28 data.width=28 data.labels=\'["NAME", "NAME"]\''
        )
        raise typer.Abort


@app.command()
def doctor(
    home: console.HomeOption = None,
    data: DataOption = None,
    dataset: DatasetOption = None,
    join_token: Annotated[
        str | None,
        Option("--join", metavar="TOKEN", help="Look at this invitation, without using it."),
    ] = None,
    as_json: console.JsonOption = False,
) -> None:
    """Check this device: packages, memory, disk, data, keys, ledger, network, certificate, clock.

    Example: agent doctor --join @token --data ./photos
    """
    from edgeveil.agent.cli.doctor import diagnose
    from edgeveil.agent.rounds.run import read_token
    from edgeveil.shared.doctor.checks import show

    token = read_token(join_token) if join_token else None
    show(
        diagnose(console.home_of(ROLE, home), token=token, data=data, dataset=dataset), json=as_json
    )


@app.command()
def pause(home: console.HomeOption = None) -> None:
    """Decline every round from now on, beside a running `agent run`; what has begun is finished.

    Example: agent pause
    """
    from edgeveil.agent.ledger.budget import open_home

    open_home(console.home_of(ROLE, home)).pause()
    console.stderr.print("Paused; nothing is charged until: agent resume")


@app.command()
def resume(home: console.HomeOption = None) -> None:
    """End a pause.

    Example: agent resume
    """
    from edgeveil.agent.ledger.budget import open_home

    open_home(console.home_of(ROLE, home)).resume()
    console.stderr.print("This device takes part in rounds again")
