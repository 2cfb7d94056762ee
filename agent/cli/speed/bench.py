"""`agent bench`: how fast a model package is on this device."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from edgeveil.agent.cli.model_commands import TrustOption
from edgeveil.shared.terminal import console

if TYPE_CHECKING:
    from edgeveil.agent.measuring.bench import Benched

ROLE = "agent"


def bench(
    model: Annotated[
        Path | None,
        Argument(metavar="[MODEL]", help="A model package [default: the model in use here]."),
    ] = None,
    home: console.HomeOption = None,
    trust: TrustOption = None,
    threads: Annotated[
        int, Option("--threads", min=0, max=256, help="Of the runtime; 0: one a processor.")
    ] = 1,
    batch: Annotated[int, Option("--batch", min=1, max=1024, help="Records a call.")] = 1,
    warm_up: Annotated[
        int, Option("--warm-up", min=0, max=10_000, help="Calls before the clock starts.")
    ] = 10,
    seconds: Annotated[
        float, Option("--seconds", min=0.1, max=120, help="To measure each provider for.")
    ] = 3.0,
    fps: Annotated[
        float | None,
        Option("--fps", min=0.01, max=1000, help="Whether a camera's frames are answered in time."),
    ] = None,
    provider: Annotated[
        list[str] | None,
        Option("--provider", help="Only this one, such as cpu [default: all that are here]."),
    ] = None,
    as_json: console.JsonOption = False,
) -> None:
    """Time a model on this device, with each execution provider of its runtime. No record of yours is looked at.

    Example: agent bench bag.evm --fps 25
    """
    from edgeveil.agent.cli.speed.opening import opened
    from edgeveil.agent.measuring.bench import bench as measured
    from edgeveil.agent.measuring.latency import Asked

    package, _ = opened(model, console.home_of(ROLE, home), trust)
    asked = Asked(threads=threads, batch=batch, warm_up=warm_up, seconds=seconds)
    found = measured(package, asked, provider or (), fps)
    if as_json:
        console.print_json({"model": package.digest, **found.as_json()})
        return
    _show(found)


def _show(found: "Benched") -> None:
    made = console.table(
        "Speed", "provider", ">load ms", ">p50 ms", ">p99", ">CPU ms", ">records/s", ">MB", ">mJ", "note",
    )  # fmt: skip
    for name, row in found.rows:
        short = name.removesuffix("ExecutionProvider")
        if isinstance(row, str):
            made.add_row(short, *("–",) * 7, row)
            continue
        energy = row.joules_per_record
        shown = "–" if energy is None else f"{1e3 * energy:.3g}"
        made.add_row(
            short, f"{row.load_ms:.0f}", f"{row.p50_ms:.3g}", f"{row.p99_ms:.3g}", f"{row.cpu_p50_ms:.3g}",
            f"{row.records_per_s:,.0f}", f"{row.memory_bytes / 1e6:.1f}", shown, "",
        )  # fmt: skip
    console.stdout.print(made)
    if found.best.no_energy:
        console.stderr.print(f"energy is not told: {found.best.no_energy}")
    if found.verdict is not None:
        console.stdout.print(found.verdict[1])
