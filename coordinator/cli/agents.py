"""`coordinator agents`: who has joined, and the operator's say in it."""

import time
from typing import Annotated

import typer
from typer import Argument

from edgeveil.shared.terminal import console

app = typer.Typer(help="Who has joined: list, approve, revoke, rename.", no_args_is_help=False)
ROLE = "coordinator"
HOW_TO_SIGN = "coordinator roster sign (or export, sign, import); one-machine mode does it itself"
Names = Annotated[list[str], Argument(metavar="NAME…", help="One or more agents.")]


@app.callback(invoke_without_command=True)
def agents(
    context: typer.Context, home: console.HomeOption = None, as_json: console.JsonOption = False
) -> None:
    """Who has joined: list (the default), approve, revoke, rename."""
    if context.invoked_subcommand is None:
        show(home=home, as_json=as_json)


@app.command("list")
def show(home: console.HomeOption = None, as_json: console.JsonOption = False) -> None:
    """Every device that ever joined, with its state, its identity key and the records it declares.

    Example: coordinator agents list --json
    """
    from edgeveil.coordinator.cli.operator import list_agents

    found = list_agents(console.home_of(ROLE, home))
    if as_json:
        console.print_json(found)
        return
    if not found:
        console.stderr.print("nobody has joined yet; invite agents with: coordinator invite NAME…")
        return
    made = console.table("Agents", "name", "state", "joined", "last seen", ">declares", "agent id")
    for agent in found:
        joined = time.strftime("%Y-%m-%d %H:%M", time.localtime(agent["joined"]))
        declared = "–" if agent["size"] is None else str(agent["size"])
        row = (agent["name"], agent["state"], joined, ago(agent["last_seen"]), declared)
        made.add_row(*row, agent["agent_id"])
    console.stdout.print(made)


@app.command()
def approve(names: Names, home: console.HomeOption = None) -> None:
    """Let devices that were invited with --hold onto the next roster.

    Example: coordinator agents approve cam-7
    """
    from edgeveil.coordinator.cli.operator import change_agents

    change_agents(console.home_of(ROLE, home), "approve", names)
    console.stderr.print(
        f"Approved: {', '.join(names)}. They are admitted with the next signed roster:"
    )
    console.stderr.print(HOW_TO_SIGN)


@app.command()
def revoke(names: Names, home: console.HomeOption = None) -> None:
    """Shut devices out for ever, at once: they are cut off, told so, and end with exit code 77.

    Example: coordinator agents revoke cam-7
    """
    from edgeveil.coordinator.cli.operator import change_agents

    change_agents(console.home_of(ROLE, home), "revoke", names)
    console.stderr.print(
        f"Revoked: {', '.join(names)}. Their names may be used again, their keys never."
    )
    console.stderr.print("Sign a roster without them, so that the other agents hear of it too:")
    console.stderr.print(HOW_TO_SIGN)


@app.command()
def rename(
    old: Annotated[str, Argument(metavar="OLD", help="The present name.")],
    new: Annotated[str, Argument(metavar="NEW", help="The new name.")],
    home: console.HomeOption = None,
) -> None:
    """Call an agent something else from now on; earlier records keep the old name.

    Example: coordinator agents rename cam-7 gate-north
    """
    from edgeveil.coordinator.cli.operator import change_agents

    change_agents(console.home_of(ROLE, home), "rename", [old], new)
    console.stderr.print(f"{old} is called {new} now; the device need not know")


def ago(seen: float | None) -> str:
    """How long since a Unix time."""
    if seen is None:
        return "never"
    seconds = max(0, int(time.time() - seen))
    return f"{seconds} s ago" if seconds < 120 else f"{seconds // 60} min ago"
