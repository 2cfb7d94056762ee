"""`coordinator tune`: settings tried in simulation before any device pays for them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from edgeveil.shared.pages.words import Language
from edgeveil.shared.terminal import console

if TYPE_CHECKING:
    from edgeveil.coordinator.tuning.tune import Written

PlanArgument = Annotated[Path, Argument(metavar="PLAN", help="A plan file, see deploy/samples.")]
SpaceOption = Annotated[
    Path, Option("--space", metavar="FILE", help="Which keys, within which ends (docs/tuning.md).")
]
DataOption = Annotated[
    Path,
    Option(
        "--data",
        metavar="PATH",
        help="Public or simulated records, no device's: as a device would hold them, or dealt "
        "by scripts/partition.py (device-1 …, server).",
    ),
]
AgentsOption = Annotated[
    int | None,
    Option("--agents", metavar="N", min=2, help="Simulated devices. [default: the plan's goal]"),
]
PartitionOption = Annotated[
    str, Option("--partition", metavar="iid|dirichlet:A", help="How the records are dealt.")
]
StudyOption = Annotated[
    str | None, Option("--study", metavar="NAME", help="[default: the name of the plan file]")
]
OutputOption = Annotated[
    Path | None,
    Option("--output", "-o", metavar="FILE", help="[default: PLAN.tuned.toml beside the plan]"),
]
app = typer.Typer()


@app.command()
def tune(
    plan: PlanArgument,
    space: SpaceOption,
    data: DataOption,
    trials: Annotated[int, Option("--trials", metavar="T", min=1, help="How many in all.")] = 30,
    agents: AgentsOption = None,
    partition: PartitionOption = "iid",
    seed: Annotated[int, Option("--seed", min=0, max=1 << 30, help="Of dealing and noise.")] = 1,
    study: StudyOption = None,
    output: OutputOption = None,
    home: console.HomeOption = None,
    lang: Annotated[Language, Option(help="Language of the page.")] = "en",
    as_json: console.JsonOption = False,
    quiet: Annotated[
        bool, Option("--quiet", "-q", help="Leave progress out of standard error.")
    ] = False,
) -> None:
    """Try settings of a plan on simulated devices; the same command goes on with a study that was stopped.

    Example: coordinator tune plan.toml --space space.toml --trials 30 --data public
    """
    from edgeveil.coordinator.tuning.tune import Asked, tune
    from edgeveil.shared.terminal.telling import say

    def silent(_sentence: str) -> None:
        return

    asked = Asked(
        plan,
        space,
        data.expanduser().absolute(),
        trials,
        console.home_of("coordinator", home),
        agents or 0,
        partition,
        seed,
        study or "",
        output,
        lang,
    )
    try:
        written = tune(asked, silent if quiet else say, quiet=quiet)
    except KeyboardInterrupt:
        console.stderr.print("stopped; what was tried is kept, and the same command goes on")
        raise
    if as_json:
        files = {"page": str(written.page), "tuned": written.plan and str(written.plan)}
        console.print_json(written.outcome.as_json() | files)
        return
    _show(written)


def _show(written: "Written") -> None:
    from edgeveil.coordinator.tuning.page import headline, shown
    from edgeveil.coordinator.tuning.words import Words

    found = written.outcome
    made = console.table("Trials", ">trial", f">{found.metric.name}", "outcome", "settings")
    for each in found.tried:
        settings = ", ".join(f"{name.rpartition('.')[2]} {shown(value)}" for name, value in each.values.items())  # fmt: skip
        made.add_row(str(each.number), found.metric.shown(each.value), each.how, settings)
    console.stdout.print(made)
    console.stdout.print(headline(found, Words("en")))
    if found.gained:
        console.stdout.print(
            f"These settings were chosen on {found.setting.validation} validation records; on new data expect less"
        )
    console.stderr.print(f"Page: {written.page}")
    if written.plan:
        console.stderr.print(
            f"Plan: {written.plan}; check it with: coordinator doctor --plan {written.plan}"
        )
