"""`coordinator plan`: a first plan from what is public, and what a plan costs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from edgeveil.shared.terminal import console

if TYPE_CHECKING:
    from edgeveil.coordinator.plan.first import FirstPlan

TaskOption = Annotated[
    str | None,
    Option(
        "--task",
        metavar="ID",
        help="Of columns, what to learn: anomaly, forecasting, rare-classes, "
        "sensor-sequence, tabular, tabular-regression. "
        "[default: as schema.toml has labels, a target, or neither]",
    ),
]
NormalOption = Annotated[
    str | None,
    Option("--normal", metavar="A,B,…", help="For anomaly: the classes that are normal."),
]
TargetOption = Annotated[
    str | None,
    Option("--target", metavar="NAME [UNIT]", help="For forecasting: the column to foretell."),
]
ChannelsOption = Annotated[
    int | None,
    Option(
        "--channels",
        metavar="1|3",
        min=1,
        max=3,
        help="Grey or in colours. [default: as --labels-from, else 1]",
    ),
]
LabelsFromOption = Annotated[
    Path | None,
    Option("--labels-from", metavar="DIR", help="A folder of CLASS folders, or an .npz file."),
]
LabelsOption = Annotated[
    str | None, Option("--labels", metavar="A,B,…", help="The classes themselves, in order.")
]
DataOption = Annotated[
    Path | None,
    Option(
        "--data",
        metavar="DIR",
        help="A folder with the schema.toml of columns, with CLASS folders of recordings, of pictures with boxes, "
        "or with the records.csv of moments (docs/data.md).",
    ),
]
SizeOption = Annotated[
    str | None,
    Option(
        "--size",
        metavar="SIDE|HxW",
        help="Pixels of a picture. [default: 28, or what the features take]",
    ),
]
FeaturesOption = Annotated[
    str | None,
    Option(
        "--features",
        metavar="orientation|blocks|pixels|efficientnet-lite0",
        help="What the model sees of a picture. [default: the network for photos in colours, "
        "where edgeveil[backbone] is installed, else orientation, below 16 pixels a side pixels]",
    ),
]
InitialOption = Annotated[
    str | None,
    Option(
        "--initial",
        metavar="FILE|RUN",
        help="For boxes: a public detector, whose classes are trained.",
    ),
]
VariantOption = Annotated[
    str | None,
    Option("--variant", metavar="lite|tiny|full", help="For boxes: the network. [default: lite]"),
]
EpsilonOption = Annotated[
    float | None,
    Option("--epsilon", metavar="E", help="Budget of each device for this run. [default: 2]"),
]
SharedOption = Annotated[
    bool,
    Option("--shared", help="Each device adds a share of the noise; --epsilon is that of sums."),
]
HonestOption = Annotated[
    int | None,
    Option("--honest", metavar="H", help="With --shared: honest devices of every sum, 2 or more."),
]

app = typer.Typer(help="Write a first plan, or say what one costs.", no_args_is_help=True)


@app.callback()
def plan() -> None:
    """Write a first plan, or say what one costs."""


@app.command()
def new(
    agents: Annotated[int, Option("--agents", metavar="N", help="How many devices will join.")],
    labels_from: LabelsFromOption = None,
    labels: LabelsOption = None,
    data: DataOption = None,
    task: TaskOption = None,
    normal: NormalOption = None,
    target: TargetOption = None,
    records: Annotated[
        int | None,
        Option("--records", metavar="R", min=1, help="Of one device, about. [default: 1000]"),
    ] = None,
    epsilon: EpsilonOption = None,
    channels: ChannelsOption = None,
    size: SizeOption = None,
    features: FeaturesOption = None,
    initial: InitialOption = None,
    variant: VariantOption = None,
    shared: SharedOption = False,
    honest: HonestOption = None,
    test: Annotated[
        Path | None,
        Option("--test", metavar="DATA", help="Held-out data on this machine, no device's."),
    ] = None,
    output: Annotated[
        Path, Option("--output", "-o", metavar="FILE", help="Where to write it.")
    ] = Path("plan.toml"),
    force: Annotated[bool, Option("--force", help="Replace the file if it is there.")] = False,
    as_json: console.JsonOption = False,
) -> None:
    """Write a commented plan for so many devices, and say what it costs each of them.

    Example: coordinator plan new --labels cat,dog --agents 5 -o plan.toml
    """
    from edgeveil.coordinator.plan.first_shared import honest_of
    from edgeveil.coordinator.plan.first_text import write_first_plan
    from edgeveil.coordinator.runs.runs import rehearse_new

    made = write_first_plan(
        output,
        labels_from=labels_from,
        labels=labels,
        data=data,
        task=task,
        normal=normal,
        target_column=target,
        channels=channels,
        size=size,
        features=features,
        test=test,
        agents=agents,
        records=records,
        epsilon=epsilon,
        force=force,
        initial=initial,
        variant=variant,
        honest=honest_of(shared=shared, honest=honest),
        check=rehearse_new,
    )
    if as_json:
        console.print_json({"file": str(output), **made.as_json()})
        return
    _say(made, output)


@app.command()
def explain(
    plan: Annotated[Path, typer.Argument(metavar="PLAN", help="The plan file.")],
    agents: Annotated[int, Option("--agents", metavar="N", help="How many devices take part.")],
    params: Annotated[
        int | None,
        Option("--params", metavar="D", help="Parameters. [default: those of the plan's model]"),
    ] = None,
    dropout: Annotated[
        float, Option("--dropout", metavar="P", help="Share of them lost in a round.")
    ] = 0.0,
    bandwidth: Annotated[
        float, Option("--bandwidth", metavar="MBIT/S", help="Of each link, the coordinator's too.")
    ] = 100.0,
    html: Annotated[
        Path | None, Option("--html", metavar="FILE", help="Write one self-contained page too.")
    ] = None,
    as_json: console.JsonOption = False,
) -> None:
    """Say what a plan costs and withstands with so many devices; nobody is asked.

    Example: coordinator plan explain plan.toml --agents 1000 --dropout 0.05
    """
    from edgeveil.coordinator.explaining import explain as explaining
    from edgeveil.coordinator.explaining import looks
    from edgeveil.coordinator.plan.plan_file import load_plan
    from edgeveil.shared.base.files import write_file

    found = explaining.explain(
        load_plan(plan), agents=agents, parameters=params, dropout=dropout, bandwidth=bandwidth
    )
    if html is not None:
        write_file(html, looks.page(found).encode())
        console.stderr.print(f"Wrote {html}")
    if as_json:
        console.print_json(found.model_dump(mode="json"))
        return
    shown = console.table(looks.title(found), "what", "one round", "meaning")
    for row in looks.rows(found):
        shown.add_row(*row)
    console.stdout.print(shown)


def _say(made: "FirstPlan", output: Path) -> None:
    from edgeveil.coordinator.plan.first import COUNT

    plan, cost = made.plan, made.cost
    classes = f" with {len(made.wanted.labels)} classes" if "labels" in plan.task.options else ""
    console.stdout.print(
        f"Wrote {output}: {plan.rounds.count} rounds of {plan.task.id}{classes}, {plan.rounds.goal} devices wanted in each, "
        f"for about {made.wanted.records} records on each device (--records)"
    )
    console.stdout.print(
        f"It costs each device ε {cost.epsilon:.3g}, or up to {plan.training.epsilon:g} with repeated "
        f"rounds; a budget of ε {cost.budget:g}, a device's default, holds {cost.runs} such runs "
        "(several together cost less than their sum)"
    )
    console.stdout.print(_holds(made))
    console.stdout.print(
        f"Beside it each data set pays ε {COUNT:g} once, ever, for a noisy count of its records; free is a size that "
        "its owner declares before the first start: agent policy set n_ref=N"
    )
    if cost.runs < 1:
        console.warn("devices with the default budget refuse this plan; choose a smaller --epsilon")
    if made.too_few:
        console.warn(made.too_few)
    for notice in plan.notices:
        console.warn(notice)
    console.stderr.print(
        f"Next: coordinator doctor --plan {output}, then coordinator serve --plan {output}, or beside a running "
        f"serve: coordinator run {output}"
    )


def _holds(made: "FirstPlan") -> str:
    """Towards whom the figure above holds, and what sums show."""
    shared = made.plan.privacy
    if shared.honest is None:
        return (
            "That holds towards everybody, even if nobody but the device itself is honest: each adds all its noise "
            "itself, and what sums show costs the same ε"
        )
    return (
        f"That is what an update alone would show. Sums show ε {made.cost.epsilon_sum:.3g}, at most "
        f"{shared.epsilon_sum:g}, if at least {shared.honest} devices of each are honest and the masks hold; every "
        "owner has to allow it: shared_noise in policy.toml"
    )
