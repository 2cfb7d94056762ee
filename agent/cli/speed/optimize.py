"""`agent optimize`: a smaller or faster variant of a model, kept only if it is as good on this device's records."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from edgeveil.agent.cli.model_commands import TrustOption
from edgeveil.shared.terminal import console

if TYPE_CHECKING:
    from edgeveil.agent.compression.variants import Base, Optimized
    from edgeveil.shared.models.package import Package

ROLE = "agent"
FITTED_TO, FITTED_VALUES = 500, 1 << 24  # records and values, at most
NO_TRAINING = (
    "what trains on this device's records is charged by its ledger, in rounds of a plan; distillation and fine-tuning "
    "are not offered here. A smaller variant comes from a plan of the coordinator with a smaller model"
)


ModelArgument = Annotated[
    Path | None,
    Argument(metavar="[MODEL]", help="A model package [default: the model in use here]."),
]
DataOption = Annotated[
    Path | None,
    Option("--data", help="Labelled records to measure quality on [default: agent.toml's]."),
]
DynamicOption = Annotated[
    bool, Option("--dynamic/--no-dynamic", help="Weights of 8 bits; needs no records.")
]
StaticOption = Annotated[
    bool,
    Option("--static", help="Also 8 bits by ranges of local records: such a model stays here."),
]
GraphOption = Annotated[
    bool, Option("--graph", help="Also the graph with its constants worked out.")
]
SparseOption = Annotated[
    float,
    Option(
        "--sparse", min=0, max=0.99, metavar="SHARE", help="Also with this share of weights zero."
    ),
]
PruneOption = Annotated[
    float,
    Option(
        "--prune",
        min=0,
        max=0.9,
        metavar="SHARE",
        help="Also without this share of channels, the rest fitted to local records: it stays here; needs [prune].",
    ),
]
ToleranceOption = Annotated[
    float,
    Option(
        "--tolerance",
        min=0,
        max=100,
        metavar="POINTS",
        help="By how many points of 100 quality may fall.",
    ),
]
ThreadsOption = Annotated[int, Option("--threads", min=1, max=256, help="To measure with.")]
SecondsOption = Annotated[
    float, Option("--seconds", min=0.1, max=120, help="To time each variant for.")
]
OutputOption = Annotated[
    Path | None, Option("--output", "-o", metavar="FILE", help="Write the kept variant there too.")
]
HtmlOption = Annotated[
    Path | None, Option("--html", metavar="FILE", help="Write one HTML file, with plots.")
]


def optimize(
    model: ModelArgument = None,
    data: DataOption = None,
    home: console.HomeOption = None,
    trust: TrustOption = None,
    dynamic: DynamicOption = True,
    static: StaticOption = False,
    graph: GraphOption = False,
    sparse: SparseOption = 0.0,
    prune: PruneOption = 0.0,
    distill: Annotated[bool, Option("--distill", help="Refused: it would be training.")] = False,
    tolerance: ToleranceOption = 1.0,
    threads: ThreadsOption = 1,
    seconds: SecondsOption = 2.0,
    output: OutputOption = None,
    use: Annotated[bool, Option("--use", help="Put the kept variant to use.")] = False,
    html: HtmlOption = None,
    as_json: console.JsonOption = False,
) -> None:
    """Try smaller variants of a model, measure each here, keep the smallest that is as good and fast, or none.

    The kept one is signed by this device, names what it was made of, and stands in agent model list. No budget is
    spent, as nothing is sent. The report tells what pruning achieved, not what was asked for.

    Example: agent optimize bag.evm --data ./photos --static --html report.html
    """
    from edgeveil.agent.cli.speed.opening import opened
    from edgeveil.agent.compression import variants
    from edgeveil.agent.compression.keeping import device_key
    from edgeveil.agent.measuring.latency import Asked
    from edgeveil.shared.base.errors import ConfigError

    if distill:
        raise ConfigError(f"--distill: {NO_TRAINING}")
    if not (dynamic or static or graph or sparse or prune):
        raise ConfigError(
            "--no-dynamic alone tries nothing; add --static, --graph, --sparse or --prune"
        )
    for target in (output, html):
        _check_writable(target)
    folder = console.home_of(ROLE, home)
    records = _records(data, folder)
    package, notice = opened(model, folder, trust)
    more = _pruned(package, prune, records) if prune else ()
    ask = variants.Ask(dynamic, static, graph, sparse, tolerance, Asked(threads=threads, seconds=seconds))  # fmt: skip
    say = _silent if as_json else console.stderr.print
    found = variants.optimize(
        package, records, ask, partial(device_key, folder), more=more, say=say
    )
    if found.kept is not None:
        _keep(found.kept.file, folder, output, use=use, vouched=not notice)
    _show(found, html, str(records), as_json=as_json)


def _records(data: Path | None, home: Path) -> Path:
    from edgeveil.agent.home.config import known_data
    from edgeveil.shared.base.errors import ConfigError

    found = data or known_data(home)
    if found is None:
        raise ConfigError("give --data PATH: no variant is kept without a look at its quality")
    return found


def _check_writable(target: Path | None) -> None:
    """Before minutes of measuring; raises ConfigError."""
    from edgeveil.shared.base.errors import ConfigError

    if target is not None and (target.is_dir() or not target.parent.is_dir()):
        why = "it is a folder" if target.is_dir() else f"there is no folder {target.parent}"
        raise ConfigError(f"{target}: cannot be written, {why}")


def _silent(_sentence: str) -> None:
    return


def _show(found: "Optimized", html: Path | None, data: str, *, as_json: bool) -> None:
    from edgeveil.agent.compression import report
    from edgeveil.shared.base.files import write_file

    if html is not None:
        write_file(html, report.page(found, data).encode())
        console.stderr.print(f"wrote {html}")
    if as_json:
        console.print_json(report.as_json(found))
        return
    made = console.table("Variants", *report.HEADINGS)
    for row in report.rows(found):
        made.add_row(*row)
    console.stdout.print(made)
    for line in (*report.reasons(found), report.sentence(found)):
        console.stdout.print(line)


def _keep(data: bytes, home: Path, output: Path | None, *, use: bool, vouched: bool) -> None:
    from edgeveil.agent.delivery.kept import KeptModels
    from edgeveil.agent.delivery.receiving import tried
    from edgeveil.shared.base.files import write_file
    from edgeveil.shared.models.package import parse_package

    models = KeptModels(home)
    kept = models.add(parse_package(data), data, vouched=vouched)
    tried(home, kept)
    if output is not None:
        write_file(output, data)
        console.stderr.print(f"wrote {output}")
    if use:
        models.use(kept.model)
        console.stderr.print(f"{kept.model[:12]}: in use now; agent model rollback goes back")
    else:
        console.stderr.print(f"{kept.model[:12]}: kept; to put it to use: agent model use {kept.model[:12]}")  # fmt: skip


def _pruned(package: "Package", share: float, data: Path) -> "tuple[Base, ...]":
    from edgeveil.agent.compression.variants import Base, sample
    from edgeveil.shared.base.errors import NotInstalled

    try:
        from edgeveil.agent.optimizing.pruning import pruned
    except ModuleNotFoundError as error:
        raise NotInstalled(
            f"--prune needs {error.name}, which is not installed", 'pip install "edgeveil[prune]"'
        ) from error
    graph, achieved = pruned(package, share, sample(package, data, FITTED_TO, FITTED_VALUES))
    return (Base(f"{share:.0%} of channels pruned", graph, achieved, share, calibrated=True),)
