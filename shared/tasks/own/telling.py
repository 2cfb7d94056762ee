"""What the commands of own tasks print, alike for both roles."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.text import Text

from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.base.exit_codes import ExitCode
from edgeveil.shared.tasks.own import packages
from edgeveil.shared.tasks.own.shelf import Shelf
from edgeveil.shared.terminal import console

if TYPE_CHECKING:
    from edgeveil.shared.tasks.conformance.suite import Check, Finding
    from edgeveil.shared.tasks.own.installing import Candidate

TRUST = (
    "Its code has all rights of the user who runs edgeveil, and sees the records. Install only what you have "
    "read, or whose author you trust; the hash must be the same on every machine."
)


def try_out(named: str, checks: "Sequence[Check]", *, as_json: bool) -> None:
    """Load what was named, and show what each check finds; ends the command with 2 where a promise is not kept."""
    from edgeveil.shared.tasks.conformance.suite import examine  # noqa: PLC0415 - torch, which a list does not need
    from edgeveil.shared.tasks.own.installing import candidate  # noqa: PLC0415 - likewise

    made = candidate(named)
    if not show_findings(made, examine(made.subject(), checks), as_json=as_json):
        raise typer.Exit(int(ExitCode.USAGE))


def agreed(made: "Candidate", question: str, *, yes: bool) -> bool:
    """Show what is to be installed; without `yes` whoever sits at a terminal is asked, and may abort."""
    show_candidate(made)
    if not yes and sys.stdin.isatty():
        return typer.confirm(question, abort=True, err=True)
    return yes


def show_findings(made: "Candidate", findings: Iterable["Finding"], *, as_json: bool) -> bool:
    """Whether all promises are kept; each on a line as it was looked at."""
    kept, told = True, []
    for each in findings:
        kept &= not (each.tried and each.fault)
        told.append({"promise": each.promise, "fault": each.fault, "tried": each.tried})
        if not as_json:
            mark, style = ("ok", "green") if not each.fault else ("no", "bold red") if each.tried else ("--", "yellow")  # fmt: skip
            fault = f": {each.fault}" if each.fault else ""
            console.stdout.broken(Text.assemble((mark, style), f"  it {each.promise}{fault}"), indent=4)  # fmt: skip
    if as_json:
        console.print_json({**about(made), "kept": kept, "findings": told})
    return kept


def require(named: str, findings: Iterable["Finding"], role: str) -> None:
    """Raise ConfigError with the first promise that is not kept."""
    for each in findings:
        if each.tried and each.fault:
            raise ConfigError(f"{named}: not installed: it has to be a task that {each.promise}, but {each.fault} (all of them: {role} task check {named})")  # fmt: skip


def about(made: "Candidate") -> dict[str, Any]:
    entry = made.entry
    return {"id": entry.id, "version": entry.version, "hash": entry.hash}


def show_candidate(made: "Candidate") -> None:
    entry = made.entry
    console.stderr.print(Text.assemble("task ", (f"{entry.id} {entry.version}", "bold")))
    console.stderr.print(f"hash {entry.hash}")
    console.stderr.broken(Text(TRUST), indent=2)


def listed(home: Path, *, allowed: Iterable[str] | None = None) -> list[dict[str, Any]]:
    """Every own task of a home, and what hinders it; `allowed` are the hashes of a device's policy."""
    found = []
    for spec in Shelf(home).specs():
        hindrance = ""
        try:
            spec.looked_at()
        except ConfigError as error:
            hindrance = error.message
        value = spec.task_hash().hex()
        if not hindrance and allowed is not None and value not in allowed:
            hindrance = "policy.toml does not allow it: agent task install"
        found.append({"id": spec.id, "version": spec.version, "hash": value, "hindrance": hindrance})  # fmt: skip
    return found


def show_list(found: list[dict[str, Any]], role: str, *, as_json: bool) -> None:
    names = [name for name in packages.offered() if name not in {each["id"] for each in found}]
    if as_json:
        console.print_json({"tasks": found, "packages": names})
        return
    if found:
        made = console.table("Own tasks", "id", "version", "hash", "state")
        for each in found:
            made.add_row(each["id"], each["version"], each["hash"], each["hindrance"] or "ready")
        console.stdout.print(made)
    else:
        console.stderr.print(f"no own task is installed: {role} task install FILE")
    if names:
        console.stderr.print(
            f"installed packages have {', '.join(names)}: {role} task install NAME"
        )
