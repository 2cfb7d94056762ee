"""The `coordinator` commands that look after its home: stop, backup, restore, move-database."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument

from edgeveil.shared.terminal import console

app = typer.Typer()
ROLE = "coordinator"


@app.command()
def stop(home: console.HomeOption = None) -> None:
    """Ask a running `coordinator serve` to stop, and wait until it has.

    Example: coordinator stop
    """
    from edgeveil.coordinator.cli.operator import stop_serving

    stop_serving(console.home_of(ROLE, home))
    console.stderr.print("The coordinator has stopped; its runs continue at the next start.")


@app.command()
def backup(
    destination: Annotated[Path, Argument(metavar="DEST", help="A new folder.")],
    home: console.HomeOption = None,
    as_json: console.JsonOption = False,
) -> None:
    """Copy database, keys, certificates, models and events; works while `serve` runs.

    Example: coordinator backup /mnt/backups/2026-01-31
    """
    from edgeveil.coordinator.serving.backup import back_up

    found = back_up(console.home_of(ROLE, home), destination, quiet=as_json)
    if as_json:
        console.print_json(
            {"folder": str(destination), "files": len(found.files), "schema": found.schema}
        )
        return
    console.stdout.print(f"Wrote {len(found.files)} files to {destination}")
    console.stderr.print("It holds this coordinator's keys: keep it as private as the original.")


@app.command()
def restore(
    source: Annotated[Path, Argument(metavar="SOURCE", help="A folder made by backup.")],
    home: console.HomeOption = None,
    as_json: console.JsonOption = False,
) -> None:
    """Check a backup and put it into an empty home folder.

    Example: coordinator restore /mnt/backups/2026-01-31 --home /srv/coordinator
    """
    from edgeveil.coordinator.serving.backup import restore as put_back

    folder = console.home_of(ROLE, home)
    found = put_back(source, folder, quiet=as_json)
    made = datetime.fromtimestamp(found.created, UTC).isoformat(timespec="seconds")
    if as_json:
        console.print_json({"home": str(folder), "files": len(found.files), "created": made})
        return
    console.stdout.print(f"Restored {len(found.files)} files of {made} into {folder}")
    console.stderr.print(
        "If rounds were trained since, agents refuse to repeat them: start a new run."
    )


@app.command("move-database")
def move_database(home: console.HomeOption = None, as_json: console.JsonOption = False) -> None:
    """Copy state.db onto the PostgreSQL server that [store] of coordinator.toml names.

    Example: coordinator move-database --home /srv/coordinator
    """
    from edgeveil.coordinator.serving.moving import MOVED
    from edgeveil.coordinator.serving.moving import move_database as move

    folder = console.home_of(ROLE, home)
    rows, name = move(folder)
    if as_json:
        console.print_json({"home": str(folder), "rows": rows, "database": name})
        return
    console.stdout.print(f"Copied {rows} rows to {name}")
    console.stderr.print(
        f"The file is {MOVED} now; delete it once `coordinator doctor` is content."
    )
