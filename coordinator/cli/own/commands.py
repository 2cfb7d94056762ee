"""`coordinator task`: install the file that devices train, so that plans can name it and models are measured."""

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from edgeveil.shared.terminal import console

ROLE = "coordinator"
app = typer.Typer(help="Own tasks: the same file as on the devices.", no_args_is_help=True)


@app.command()
def check(named: console.TaskArgument, as_json: console.JsonOption = False) -> None:
    """Try a task on made-up records, and whether a package of its model computes the same.

    Example: coordinator task check valve.py
    """
    from edgeveil.coordinator.models.conforming import CHECKS_OF_A_COORDINATOR
    from edgeveil.shared.tasks.own.telling import try_out

    try_out(named, CHECKS_OF_A_COORDINATOR, as_json=as_json)


@app.command()
def install(
    named: console.TaskArgument,
    home: console.HomeOption = None,
    yes: Annotated[bool, Option("--yes", "-y", help="Install it without being asked.")] = False,
    as_json: console.JsonOption = False,
) -> None:
    """Check a task and keep a copy in this home; a running `coordinator serve` takes it up by itself.

    Example: coordinator task install valve.py
    """
    from edgeveil.coordinator.plan.config import load_config
    from edgeveil.shared.base.errors import ConfigError
    from edgeveil.shared.tasks.conformance.suite import examine
    from edgeveil.shared.tasks.own.installing import candidate
    from edgeveil.shared.tasks.own.shelf import Shelf
    from edgeveil.shared.tasks.own.telling import about, agreed, require

    folder = _home(home)
    load_config(folder)
    made = candidate(named, Shelf(folder))
    require(named, examine(made.subject()), ROLE)
    if not agreed(made, "Install it here?", yes=yes):
        raise ConfigError(
            f"task {made.entry.id} with hash {made.entry.hash}: confirm it with --yes"
        )
    made.install(Shelf(folder))
    if as_json:
        console.print_json(about(made))
        return
    console.stderr.print(f'Installed; plans name it by id = "{made.entry.id}" in [task]')


@app.command("list")
def list_tasks(home: console.HomeOption = None, as_json: console.JsonOption = False) -> None:
    """The own tasks of this home, their hashes, and what hinders one.

    Example: coordinator task list
    """
    from edgeveil.coordinator.plan.config import load_config
    from edgeveil.shared.tasks.own.telling import listed, show_list

    folder = _home(home)
    load_config(folder)
    show_list(listed(folder), ROLE, as_json=as_json)


@app.command()
def remove(task: Annotated[str, Argument(help="Its id.")], home: console.HomeOption = None) -> None:
    """Take a task out of this home; its runs that have not ended cannot go on.

    Example: coordinator task remove valve
    """
    from edgeveil.coordinator.plan.config import load_config
    from edgeveil.shared.tasks.own.shelf import Shelf

    folder = _home(home)
    load_config(folder)
    Shelf(folder).remove(task)
    console.stderr.print(f"Removed {task}")


def _home(given: Path | None) -> Path:
    return console.home_of(ROLE, given)
