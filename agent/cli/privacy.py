"""The commands about privacy: budget, plan, policy, verify, audit. Parse, call one function, print."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text
from typer import Argument, Option

from edgeveil.shared.base.exit_codes import ExitCode
from edgeveil.shared.pages.words import Language
from edgeveil.shared.terminal import console

if TYPE_CHECKING:
    from edgeveil.shared.privacy.report.two_figures import TwoFigures

ROLE = "agent"
budget_app = typer.Typer(invoke_without_command=True, no_args_is_help=False)
policy_app = typer.Typer(
    help="What this device agrees to: show it, change it.", no_args_is_help=True
)

DatasetOption = Annotated[
    str | None, Option("--dataset", help="Name of the data set [default: of this home].")
]
ParametersOption = Annotated[
    int | None,
    Option(
        "--parameters",
        metavar="D",
        min=1,
        help='Of a plan with unit = "device": how many are trained; how many devices it takes.',
    ),
]
PrvOption = Annotated[
    bool, Option("--prv/--no-prv", help="Compute the PRV figure too (seconds; needs opacus).")
]


@budget_app.callback()
def budget(
    context: typer.Context,
    home: console.HomeOption = None,
    dataset: DatasetOption = None,
    as_json: console.JsonOption = False,
    html: Annotated[
        Path | None, Option("--html", metavar="FILE", help="Write the report as a page.")
    ] = None,
    lang: Annotated[Language, Option(help="Language of the page.")] = "en",
    prv: PrvOption = True,
) -> None:
    """What this device's data has spent of its privacy budget, from the verified ledger.

    Example: agent budget --html report.html
    """
    if context.invoked_subcommand is not None:
        return
    folder = console.home_of(ROLE, home)
    _say_whether_ready(folder, dataset)
    if html is None and not as_json:
        _print_budget(folder, dataset)
        return
    from edgeveil.agent.reports.report import build, keep_hash
    from edgeveil.shared.base.clock import SystemClock

    report = build(folder, dataset, SystemClock(), prv=prv)
    if html is not None:
        from edgeveil.agent.reports.report_page import page
        from edgeveil.shared.base.files import write_file

        write_file(html, page(report, lang).encode())
        console.stderr.print(f"Wrote {html}")
    if as_json:
        console.print_json(report)
    keep_hash(folder, report)


def _say_whether_ready(folder: Path, dataset: str | None) -> None:
    """Loud, whatever else is printed: a device that did not start spends nothing, and nobody else says so."""
    from edgeveil.agent.home.config import known_dataset
    from edgeveil.agent.home.records.usable import last_look

    look = last_look(folder, dataset or known_dataset(folder))
    if look is not None and look.refused:
        console.stderr.print(Text(f"not ready: {look.refused}", style="bold red"))


def _print_budget(folder: Path, dataset: str | None) -> None:
    from edgeveil.agent.ledger.budget import read_budget
    from edgeveil.shared.privacy.unlimited import UNLIMITED, shown

    found = read_budget(folder, dataset)
    width, two = 20, found.two
    filled = min(width, round(found.epsilon_share * width))
    made = console.table(f"Privacy budget of {found.dataset}", "what", ">value")
    made.add_row("ε spent", shown(found.epsilon_spent, ".4f"))
    made.add_row("ε limit", f"{found.epsilon_limit:g}")
    if two is not None:
        most = "" if two.sums_limit == UNLIMITED else f" of {two.sums_limit:g}"
        made.add_row("ε of sums", f"{shown(two.sums, '.4f')}{most}")
    made.add_row("δ", f"{found.delta:g}")
    if found.limited:
        bar = two.blocks(width) if two else f"{'█' * filled}{'░' * (width - filled)}"
        made.add_row("budget used", f"{bar} {found.epsilon_share:.1%} of ε")
    made.add_row("unit", f"one {found.unit}, added or removed")
    made.add_row("rounds charged", str(found.rounds))
    if not found.limited:
        made.add_row(
            "of these without noise", f"{found.rounds_without_noise}: ε is not limited, for ever"
        )
    if found.resets:
        made.add_row("counted anew by the owner", f"{found.resets} times; see the report")
    if found.rounds_left is not None:
        made.add_row("rounds left at the newest plan", f"{found.rounds_left:,}")
    made.add_row(
        "ledger", f"{found.ledger_records} records, head {(found.ledger_head or 'none')[:16]}"
    )
    console.stdout.print(made)
    for line in () if two is None else two.lines():
        console.stdout.print(line)


@budget_app.command("plan")
def budget_plan(
    steps: Annotated[
        int | None,
        Option(help="Steps: of one round with --rounds, else in all [default with --shared: 1]."),
    ] = None,
    noise: Annotated[
        float | None,
        Option(help="Noise multiplier σ; without it, the least that fits is looked for."),
    ] = None,
    shared: Annotated[
        bool, Option("--shared", help="Noise in shares: σ of the sum and of a share, both ε.")
    ] = False,
    honest: Annotated[
        int | None, Option(help="With --shared: honest agents that every sum holds, this one too.")
    ] = None,
    rate: Annotated[float, Option(help="Sample rate q.")] = 1.0,
    parameters: ParametersOption = None,
    rounds: Annotated[int, Option(min=1, help="Rounds of --steps steps each.")] = 1,
    epsilon: Annotated[float | None, Option(help="The budget to fit into.")] = None,
    delta: Annotated[float | None, Option(help="δ [default: 1e-5, or the ledger's].")] = None,
    history: Annotated[
        Path | None, Option(help="JSON list of [σ, q, steps] that was spent before.")
    ] = None,
    ledger: Annotated[
        bool, Option("--ledger", help="Start from what this device's ledger has spent.")
    ] = False,
    home: console.HomeOption = None,
    dataset: DatasetOption = None,
    prv: PrvOption = True,
    as_json: console.JsonOption = False,
) -> None:
    """What a schedule costs; with a budget, which noise it needs or how many rounds are left.

    Example: agent budget plan --noise 4.5 --rate 1 --steps 40 --delta 1e-5 --json
    """
    from edgeveil.agent.ledger.budget_plan import answer, both, start_from, start_from_ledger
    from edgeveil.shared.base.errors import ConfigError

    if ledger and (history is not None or epsilon is not None or delta is not None):
        raise ConfigError("--ledger brings its own history, epsilon and delta; leave those out")
    start = (
        start_from_ledger(console.home_of(ROLE, home), dataset)
        if ledger
        else start_from(history, epsilon, 1e-5 if delta is None else delta)
    )
    if not start.limited:
        console.warn(
            "rounds of this data set were without noise: its ε is not limited; these figures leave them out"
        )
    found = answer(
        start,
        noise=noise,
        rate=rate,
        steps=steps,
        rounds=rounds,
        prv=prv,
        shared=shared,
        honest=honest,
        parameters=parameters,
    )
    two = None if honest is None else both(start, found, honest)
    _print_plan(found, two, as_json=as_json)


def _print_plan(found: dict[str, Any], two: "TwoFigures | None", *, as_json: bool) -> None:
    from edgeveil.agent.ledger.budget_plan import SCARCE

    if found.get("share_left", 1.0) < SCARCE:
        console.stderr.print(
            Text(f"only {found['share_left']:.0%} of the budget is left", style="bold")
        )
    if as_json:
        console.print_json(found)
        return
    made = console.table("Plan", "what", ">value")
    for name, value in found.items():
        made.add_row(name.replace("_", " "), _shown(value))
    if two is not None:
        made.add_row("of the limit", two.blocks())
    console.stdout.print(made)
    for line in () if two is None else two.lines():
        console.stdout.print(line)


@budget_app.command("evaluations")
def budget_evaluations(
    home: console.HomeOption = None,
    dataset: DatasetOption = None,
    as_json: console.JsonOption = False,
) -> None:
    """What this device's own held-out records said of models, without noise: for you alone, it never leaves here.

    Example: agent budget evaluations
    """
    from edgeveil.agent.home.config import known_dataset
    from edgeveil.agent.home.home import AgentHome
    from edgeveil.agent.rounds.evaluating.own_figures import as_json as told
    from edgeveil.agent.rounds.evaluating.own_figures import read
    from edgeveil.shared.pages.text import utc

    folder = console.home_of(ROLE, home)
    ledgers = AgentHome(folder).ledger_folder
    figures = read(ledgers / (dataset or known_dataset(folder)))
    if as_json:
        console.print_json([told(figure) for figure in figures])
        return
    made = console.table("Own figures", "time", "run", ">round", "task", ">records", "figures")
    for figure in figures:
        said = ", ".join(f"{name} {value:.4g}" for name, value in figure.metrics.items())
        numbers = str(figure.round), figure.task, str(figure.records)
        made.add_row(utc(figure.time), figure.run, *numbers, said or "–")
    console.stdout.print(made)


@budget_app.command("reset")
def budget_reset(
    home: console.HomeOption = None,
    dataset: DatasetOption = None,
    yes: Annotated[
        bool, Option("--yes", "-y", help="Begin to count anew without being asked.")
    ] = False,
) -> None:
    """Count this data set's budget from zero again. What was sent stays sent; every report will say so.

    Example: agent budget reset --dataset data
    """
    from edgeveil.agent.ledger.budget_reset import look, reset
    from edgeveil.shared.base.clock import SystemClock
    from edgeveil.shared.base.errors import ConfigError

    folder = console.home_of(ROLE, home)
    forgotten = look(folder, dataset)
    console.stderr.print(
        f"Data set {forgotten.dataset}: ε {forgotten.epsilon_spent:.4g} of {forgotten.rounds} rounds would "
        "no longer count. What these updates showed of the records stays shown; with more rounds it adds up. "
        "The reset is recorded for good and stands in every later report.",
    )
    if forgotten.rounds_without_noise:
        console.stderr.print(
            f"{forgotten.rounds_without_noise} rounds were without noise: ε stays not limited, whatever is reset."
        )
    if not yes:
        if not sys.stdin.isatty():
            raise ConfigError("this forgets what was spent; confirm it with --yes")
        typed = typer.prompt("Type the name of the data set to go on", err=True)
        if typed != forgotten.dataset:
            raise typer.Abort
    reset(folder, forgotten, SystemClock())
    console.stderr.print(f"Recorded in the ledger of {forgotten.dataset}")


def _shown(value: Any) -> str:
    if value is None:
        return "not computed"
    return f"{value:.6g}" if isinstance(value, float) else f"{value:,}"


@policy_app.command("show")
def policy_show(home: console.HomeOption = None, as_json: console.JsonOption = False) -> None:
    """The policy in force, and whether the ledger chained the same.

    Example: agent policy show
    """
    from edgeveil.agent.cli.policy_commands import show

    found = show(console.home_of(ROLE, home))
    if as_json:
        console.print_json({key: value for key, value in found.items() if key != "toml"})
        return
    console.stdout.lines(found["toml"])
    for chained in found["ledgers"]:
        looser = ", ".join(chained["file_is_looser_in"])
        state = "chained in" if chained["same"] else "differs from"
        console.stderr.print(f"{state} the ledger of {chained['dataset']}")
        if looser:
            console.stderr.print(f"the file allows more in: {looser}; it does not count yet")


@policy_app.command("set")
def policy_set(
    assignments: Annotated[
        list[str], Argument(metavar="KEY=VALUE…", help="Such as epsilon_max=4 secagg.n_min=5")
    ],
    home: console.HomeOption = None,
    yes: Annotated[
        bool, Option("--yes", "-y", help="Confirm a change that allows more than before.")
    ] = False,
) -> None:
    """Change policy.toml and chain the change in the ledger. Stop `agent run` first.

    Example: agent policy set epsilon_max=4 secagg.n_min=5
    """
    from edgeveil.agent.cli.policy_commands import WITHOUT_NOISE, apply, prepare
    from edgeveil.shared.base.clock import SystemClock

    folder = console.home_of(ROLE, home)
    change = prepare(folder, assignments)
    if "dp_required" in change.looser:
        console.warn(WITHOUT_NOISE)
    if change.looser and not yes and sys.stdin.isatty():
        console.stderr.print(f"This allows more than before: {', '.join(change.looser)}")
        yes = typer.confirm("Allow it?", abort=True, err=True)
    ledgers, remarks = apply(folder, change, SystemClock(), accept_looser=yes)
    console.stderr.print(f"Changed: {', '.join(change.changed) or 'nothing'}")
    if ledgers:
        console.stderr.print(f"Recorded in the ledger of {', '.join(ledgers)}")
    for remark in remarks:
        console.stderr.print(remark)


def verify(
    report: Annotated[
        Path | None,
        Argument(metavar="[REPORT]", help="A report, .json or .html [default: the ledger]."),
    ] = None,
    home: console.HomeOption = None,
    dataset: DatasetOption = None,
    as_json: console.JsonOption = False,
) -> None:
    """Recompute every ε of the ledger and of a report, check chain and signatures.

    Example: agent verify report.html
    """
    from edgeveil.agent.reports.verify import check

    found = check(console.home_of(ROLE, home), dataset, report, quiet=as_json)
    if as_json:
        console.print_json(found.as_json())
    else:
        for mark, style, sentences in (
            ("ok", "green", found.checked),
            ("!!", "yellow", found.noticed),
            ("no", "bold red", found.faults),
        ):
            for sentence in sentences:
                console.stdout.print(Text.assemble((mark, style), "  ", sentence))
    raise typer.Exit(int(found.verdict))


def audit(
    home: console.HomeOption = None,
    data: Annotated[
        Path | None, Option("--data", help="The data to copy [default: of this home].")
    ] = None,
    dataset: DatasetOption = None,
    task: Annotated[
        str | None, Option(help="An installed task [default: the one trained last].")
    ] = None,
    variant: Annotated[str | None, Option(help="Its variant [default: its own].")] = None,
    option: Annotated[
        list[str] | None,
        Option(
            "--option", metavar="KEY=VALUE", help="An option of the task, as in a plan; repeat."
        ),
    ] = None,
    canaries: Annotated[int, Option(min=100, max=20_000, help="Made-up records.")] = 6000,
    steps: Annotated[int, Option(min=1, max=100, help="Steps of each copy.")] = 2,
    as_json: console.JsonOption = False,
) -> None:
    """Train copies with made-up records in them and see what an observer could tell: is the noise there?

    The result stays in this home, and the next privacy report shows it. Ends with 7 where more can be told than the
    claimed ε allows: do not train with this installation.

    Options of a task are those of its plan: --task tabular --option labels=ok,worn --option 'columns=rpm 0..9000'

    Example: agent audit --data ./photos
    """
    from edgeveil.agent.reports.audited import keep
    from edgeveil.agent.training.auditing.audit import audit_home
    from edgeveil.shared.base.clock import SystemClock

    path = console.home_of(ROLE, home)
    found = audit_home(
        path,
        data=data,
        dataset=dataset,
        task_id=task,
        given=_given(variant, option or []),
        canaries=canaries,
        steps=steps,
        quiet=as_json,
    )
    told = found.as_json()
    keep(path, told, SystemClock())
    if as_json:
        console.print_json(told)
    else:
        _show_audit(told)
    raise typer.Exit(ExitCode.DONE if found.passed else ExitCode.TOO_LITTLE_NOISE)


def _given(variant: str | None, options: list[str]) -> dict[str, object]:
    """Numbers and true or false as such, as TOML has them."""
    import json

    from edgeveil.shared.base.errors import ConfigError

    found: dict[str, object] = {} if variant is None else {"variant": variant}
    for each in options:
        key, equals, value = each.partition("=")
        if not key or not equals:
            raise ConfigError(f"--option {each}: write KEY=VALUE, as in the plan's options")
        try:
            found[key] = json.loads(value) if len(value) < 20 else value
        except ValueError:
            found[key] = value
    return found


def _show_audit(told: dict[str, Any]) -> None:
    made = console.table(
        "Audit of this installation", "claimed ε", ">proven (95 %)", ">at most", ">share", "alarms"
    )
    made.add_row(
        f"{told['epsilon_claimed']:g} (guesses)",
        f"{told['epsilon_lower_bound']:.3f}",
        f"{told['epsilon_claimed']:g}",
        "",
        f"{told['right']} of {told['guesses']} guesses right",
    )
    for one in told["near"]:
        least, most = one["epsilon_lower_bound"], one["epsilon_gaussian"]
        made.add_row(
            f"{one['epsilon_claimed']:g}",
            "∞" if least is None else f"{least:.3f}",
            f"{most:.3f}",
            "" if least is None else f"{least / most:.0%}",
            f"{one['alarms']} of {one['runs']} {'; '.join(one['why'])}".strip(),
        )
    console.stdout.print(made)
    console.stdout.print(
        f"{told['canaries']:,} made-up records among {told['records']:,} of yours, trained by {told['task']}, tell no more than the noise allows; nothing was charged or sent."
        if told["passed"]
        else Text(
            "More can be told than was claimed: do not train with this installation.",
            style="bold red",
        )
    )
