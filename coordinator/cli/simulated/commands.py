"""`coordinator simulate`: what a plan learns and costs, before any device pays for it."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer import Argument, Option

from edgeveil.coordinator.cli.look import SHOWN, print_report
from edgeveil.shared.terminal import console

app = typer.Typer()
URL = "https://simulation.invalid"  # nobody listens; no device connects

HomeOption = Annotated[
    Path | None,
    Option("--home", metavar="DIR", help="Where it is kept. [default: PLAN-simulated]"),
]
DataOption = Annotated[
    Path | None,
    Option("--data", metavar="DIR", help="Records to part among them. [default: 1,797 digits]"),
]
RayOption = Annotated[
    str | None,
    Option("--ray", metavar="ADDRESS|off", help="A Ray cluster, or none. [default: Ray here]"),
]
DropoutOption = Annotated[
    float, Option("--dropout", metavar="P", min=0, max=0.9, help="Of a device in an attempt.")
]
SecaggOption = Annotated[
    Literal["real", "sum"],
    Option("--secagg", help="The real protocol, or exact sums without masks."),
]


@app.command()
def simulate(
    plan: Annotated[Path, Argument(help="A plan file, see deploy/samples.")],
    agents: Annotated[int, Option("--agents", metavar="N", min=2, help="How many devices.")],
    data: DataOption = None,
    partition: Annotated[
        str,
        Option("--partition", metavar="WAY", help="iid, dirichlet:A, shards:K, group or time."),
    ] = "iid",
    rounds: Annotated[
        int | None, Option("--rounds", metavar="R", min=1, help="Instead of the plan's.")
    ] = None,
    home: HomeOption = None,
    dropout: DropoutOption = 0.0,
    secagg: SecaggOption = "real",
    ray: RayOption = None,
    seed: Annotated[
        int, Option("--seed", min=0, help="Of the partition and of who drops out.")
    ] = 0,
    bandwidth: Annotated[
        float, Option("--bandwidth", min=0.001, help="Of a real device, in Mbit/s each way.")
    ] = 20.0,
    compute: Annotated[
        float, Option("--compute", min=0.001, help="Of a real device; a core here is 1.")
    ] = 0.25,
    quiet: Annotated[
        bool, Option("--quiet", "-q", help="Leave progress out of standard error.")
    ] = False,
    as_json: console.JsonOption = False,
) -> None:
    """Carry a plan out on made-up devices: what it learns, what it costs, what real ones would take.

    They are the agent's own code with ledgers of their own; the same command continues where it stopped.

    Example: coordinator simulate plan.toml --agents 10 --secagg sum
    """
    from edgeveil.coordinator.cli.setup import initialise
    from edgeveil.coordinator.plan.plan_file import load_plan
    from edgeveil.coordinator.reports.reading import read_report
    from edgeveil.coordinator.simulation import running, settings
    from edgeveil.coordinator.simulation.forecast import Fleet

    folder = (home or Path(f"{plan.stem}-simulated")).expanduser().absolute()
    asked = load_plan(plan)
    wanted = settings.wanted(
        {
            "agents": agents,
            "data": None if data is None else data.expanduser().absolute(),
            "partition": partition,
            "seed": seed,
            "secagg": secagg,
        }
    )
    running.check(asked, agents, ray, wanted.data)
    settings.settle(folder, wanted)
    initialise(folder, folder / "federation", url=URL, listen=None, hosts=(), passphrase=None)
    way = running.Way(ray, dropout, Fleet(bandwidth, compute), _teller(quiet=quiet), quiet)
    run, facts = running.simulate(folder, running.adapted(asked, folder, rounds), wanted, way)
    report = read_report(folder, run, last=None if as_json else SHOWN)
    if as_json:
        console.print_json(report | {"simulation": facts})
        return
    print_report(report, folder, as_json=False)
    _print_facts(facts, len(report["rounds"]))


def _teller(*, quiet: bool) -> Any:
    return (lambda _: None) if quiet else console.stderr.print


def _print_facts(facts: dict[str, Any], attempts: int) -> None:
    from edgeveil.shared.pages.text import human_bytes

    made = console.table("Simulated", "what", "value")
    made.add_row("devices", f"{facts['agents']}, {facts['partition']}, seed {facts['seed']}")
    made.add_row("sums", {"real": "masked", "sum": "exact, without masks"}[facts["secagg"]])
    made.add_row("drop-outs", f"{facts['dropout']:g} of a device, {attempts} attempts")
    made.add_row(
        "ε by the ledgers", f"{_shown(facts['epsilon'])}, of sums {_shown(facts['epsilon_sum'])}"
    )
    made.add_row(
        "memory", f"{human_bytes(facts['memory'])} of the largest of {facts['workers']} processes"
    )
    made.add_row("a device's work", f"{facts['device_seconds']:.2f} s a round, on a core here")
    if found := facts["forecast"]:
        fleet = facts["fleet"]
        made.add_row(
            "real devices",
            f"a round in {found['round_s']:.1f} s: {found['device_s']:.1f} s of a device at {fleet['compute']:g} of a "
            f"core, {found['transfer_s']:.1f} s for {human_bytes(found['bytes_up'])} up and "
            f"{human_bytes(found['bytes_down'])} down at {fleet['bandwidth']:g} Mbit/s, "
            f"{found['coordinator_s']:.1f} s here; {found['rounds']} rounds in {found['run_s']:.0f} s",
        )
    console.stdout.print(made)


def _shown(value: float | None) -> str:
    return "not limited" if value is None else f"{value:.3g}"
