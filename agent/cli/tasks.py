"""`agent task`: an own task of a model and a loss, begun, checked, installed and removed by the device's owner."""

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from edgeveil.shared.terminal import console

ROLE = "agent"
task_app = typer.Typer(
    help="Own tasks: a torch model of yours, trained like the built-in ones.", no_args_is_help=True
)


@task_app.command()
def new(
    name: Annotated[str, Argument(help="What plans will call it: a-z, 0-9 and '-'.")],
    folder: Annotated[Path, Option("--in", metavar="DIR", help="Where to write it.")] = Path(),
) -> None:
    """Begin a task: a commented file with a small model, and a test.

    Example: agent task new valve
    """
    from edgeveil.shared.tasks.own.template import begin

    task, test = begin(name, folder)
    console.stdout.print(f"Wrote {task} and {test}")
    console.stdout.print(f"Next: put your model there, then: agent task check {task}")


@task_app.command()
def check(named: console.TaskArgument, as_json: console.JsonOption = False) -> None:
    """Try a task on made-up records: what it lacks to be trained privately, in plain words.

    Example: agent task check valve.py
    """
    from edgeveil.agent.training.conforming import ALL_CHECKS
    from edgeveil.shared.tasks.own.telling import try_out

    try_out(named, ALL_CHECKS, as_json=as_json)


@task_app.command()
def install(
    named: console.TaskArgument,
    home: console.HomeOption = None,
    yes: Annotated[
        bool, Option("--yes", "-y", help="Allow exactly this code without being asked.")
    ] = False,
    as_json: console.JsonOption = False,
) -> None:
    """Check a task, keep a copy in this home, and allow its hash in the policy. Stop `agent run` first.

    Example: agent task install valve.py
    """
    from edgeveil.agent.cli.task_commands import checked, put
    from edgeveil.shared.tasks.own.telling import about, agreed

    folder = console.home_of(ROLE, home)
    made = checked(folder, named)
    yes = agreed(made, "Let this device train it?", yes=yes)
    ledgers = put(folder, made, confirmed=yes)
    if as_json:
        console.print_json({**about(made), "ledgers": ledgers})
        return
    where = f", and recorded in the ledger of {', '.join(ledgers)}" if ledgers else ""
    console.stderr.print(f"Installed and allowed{where}")


@task_app.command("list")
def list_tasks(home: console.HomeOption = None, as_json: console.JsonOption = False) -> None:
    """The own tasks of this home, their hashes, and what hinders one.

    Example: agent task list
    """
    from edgeveil.agent.cli.task_commands import known
    from edgeveil.shared.tasks.own.telling import show_list

    show_list(known(console.home_of(ROLE, home)), ROLE, as_json=as_json)


@task_app.command()
def remove(task: Annotated[str, Argument(help="Its id.")], home: console.HomeOption = None) -> None:
    """Take a task out of the policy, and its copy out of this home. Stop `agent run` first.

    Example: agent task remove valve
    """
    from edgeveil.agent.cli.task_commands import take_away

    take_away(console.home_of(ROLE, home), task)
    console.stderr.print(f"Removed {task}")
