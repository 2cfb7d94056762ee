"""The `coordinator` commands that only look. They change nothing and import neither torch nor Flower."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from edgeveil.shared.base.json_text import pieces
from edgeveil.shared.pages.words import Language
from edgeveil.shared.terminal import console

app = typer.Typer()
ROLE = "coordinator"
CAN_BE_MISSED = ("bytes", "s", "try", "dropped")  # of a table of rounds, in this order
NO_RUN = "no run yet; start one with: coordinator run plan.toml"
SHOWN = 50  # rows of a table, unless --last asks for more

RunArgument = Annotated[str | None, Argument(metavar="[RUN]", help="A run [default: the last].")]


@app.command()
def rounds(
    run_id: Annotated[str | None, Argument(metavar="[RUN]", help="One run [default: all].")] = None,
    home: console.HomeOption = None,
    last: Annotated[
        int | None, Option("--last", min=1, metavar="N", help="The newest N attempts only.")
    ] = None,
    failed: Annotated[bool, Option("--failed", help="Aborted attempts only.")] = False,
    as_json: console.JsonOption = False,
    as_csv: Annotated[bool, Option("--csv", help="Print CSV to stdout.")] = False,
) -> None:
    """Every attempt of every round: who was asked, who survived, why others left, what came out.

    Example: coordinator rounds --last 20 --failed
    """
    from edgeveil.coordinator.reports.reading import (
        any_run,
        each_round,
        find_rounds,
        metric_names,
        scorings,
    )
    from edgeveil.coordinator.reports.tables import rounds_csv, rounds_tables
    from edgeveil.shared.base.errors import ConfigError

    if as_json and as_csv:
        raise ConfigError("--json and --csv: choose one")
    machine = as_json or as_csv
    most = last if last is not None or machine else SHOWN
    folder = console.home_of(ROLE, home)
    if as_csv:
        found = each_round(folder, run_id, last=most, failed=failed)
        for lines in rounds_csv(found, metric_names(scorings(folder, run_id).values())):
            sys.stdout.write(lines)
        return
    if as_json:
        found = each_round(folder, run_id, last=most, failed=failed)
        console.print_json_lines(record.as_json() for record in found)
        return
    records, known = find_rounds(folder, run_id, last=most, failed=failed)
    if not records:
        console.stderr.print("no such round yet" if any_run(folder) else NO_RUN)
    for made, metric in rounds_tables(records, scorings(folder, run_id)):
        console.stdout.print(console.fit(made, console.stdout, *CAN_BE_MISSED, metric))
    if known > len(records):
        console.stderr.print(
            f"{known - len(records)} older ones are not shown; --last N shows more"
        )


@app.command()
def show(
    run_id: Annotated[str, Argument(metavar="RUN")],
    number: Annotated[int, Argument(metavar="ROUND", min=1)],
    home: console.HomeOption = None,
    as_json: console.JsonOption = False,
) -> None:
    """One round in full: every attempt, every stage, and what each agent did in it.

    Example: coordinator show run-20260131-120000-9f3c07d1 4
    """
    from edgeveil.coordinator.reports.reading import one_round
    from edgeveil.coordinator.reports.tables import round_tables

    records, events = one_round(console.home_of(ROLE, home), run_id, number)
    if as_json:
        console.print_json(
            {
                "attempts": [record.as_json() for record in records],
                "events": [line.as_json() for line in events],
            }
        )
        return
    for made in round_tables(records, events):
        console.stdout.print(
            console.fit(made, console.stdout, "left at", "bytes up", "answered after")
        )


@app.command()
def compare(
    first: Annotated[str, Argument(metavar="RUN")],
    second: Annotated[str, Argument(metavar="RUN")],
    home: console.HomeOption = None,
    second_home: Annotated[
        Path | None,
        Option("--second-home", metavar="DIR", help="Of the second, such as a simulation's."),
    ] = None,
    as_json: console.JsonOption = False,
) -> None:
    """Two runs side by side: what was asked, what came out, what it cost.

    Example: coordinator compare run-20260131-120000-9f3c07d1 run-20260201-120000-0a1b2c3d
    """
    from edgeveil.coordinator.reports.reading import read_report
    from edgeveil.coordinator.reports.tables import compare as compare_values
    from edgeveil.coordinator.reports.tables import compare_table

    folder = console.home_of(ROLE, home)  # what is compared are totals and the newest model
    other = folder if second_home is None else second_home.expanduser().absolute()
    reports = [read_report(*each, last=1) for each in ((folder, first), (other, second))]
    if as_json:
        pairs = compare_values(*reports)
        console.print_json(
            {"runs": [first, second], **{key: list(both) for key, both in pairs.items()}}
        )
        return
    console.stdout.print(compare_table(*reports, whole=not console.stdout.is_terminal))


@app.command()
def tail(
    run_id: RunArgument = None,
    home: console.HomeOption = None,
    last: Annotated[
        int, Option("--last", "-n", min=0, metavar="N", help="Begin with the newest N events.")
    ] = 20,
    go_on: Annotated[bool, Option("--follow/--no-follow", help="Wait for further events.")] = True,
    as_json: console.JsonOption = False,
) -> None:
    """The event log as it grows: text on a terminal, JSON lines anywhere else.

    Example: coordinator tail --last 100 --no-follow
    """
    import json

    from edgeveil.coordinator.cli.follow import follow_events
    from edgeveil.shared.events.tail import as_text

    for line in follow_events(console.home_of(ROLE, home), run_id, last=last, go_on=go_on):
        if as_json or not console.stdout.is_terminal:
            sys.stdout.write(json.dumps(line.as_json(), separators=(",", ":")) + "\n")
            sys.stdout.flush()
        else:
            console.stdout.broken(as_text(line), indent=10)


@app.command()
def report(
    run_id: RunArgument = None,
    home: console.HomeOption = None,
    html: Annotated[
        Path | None, Option("--html", metavar="FILE", help="Write one HTML file instead.")
    ] = None,
    lang: Annotated[Language, Option(help="Language of the page.")] = "en",
    as_json: console.JsonOption = False,
) -> None:
    """The report of a run: task, privacy plan, rounds, traffic, model.

    Example: coordinator report --html run.html
    """
    from edgeveil.coordinator.reports.reading import read_report, write_page

    folder = console.home_of(ROLE, home)
    if html is None and _nothing_yet(folder, run_id, as_json=as_json):
        return
    if html is None:
        whole = read_report(folder, run_id, last=None if as_json else SHOWN)
        print_report(whole, folder, as_json=as_json)
        return
    found = write_page(folder, run_id, html, lang, quiet=as_json)
    if as_json:
        console.print_json({"run": found, "html": str(html.absolute())})
    else:
        console.stderr.print(f"wrote the report of {found} to {html}")


@app.command()
def top(
    home: console.HomeOption = None,
    once: Annotated[bool, Option("--once", help="Print one picture and end.")] = False,
    everybody: Annotated[
        bool, Option("--all", help="One by one, whoever is away and however many there are.")
    ] = False,
    as_json: console.JsonOption = False,
) -> None:
    """The coordinator at a glance, twice a second: run, stage, agents, budget, throughput.

    Example: coordinator top --once
    """
    from edgeveil.coordinator.cli.top import look, watch

    folder = console.home_of(ROLE, home)
    if as_json:
        console.print_json(look(folder).as_json())
        return
    alone = once or not console.stdout.is_terminal
    watch(folder, console.stdout, once=alone, everybody=everybody)


def _nothing_yet(folder: Path, run_id: str | None, *, as_json: bool) -> bool:
    """Say so, as a fact and not as a mistake, when the last run is asked for and there is none."""
    from edgeveil.coordinator.reports.reading import any_run

    if run_id is not None or any_run(folder):
        return False
    if as_json:
        console.print_json(None)
    console.stderr.print(NO_RUN)
    return True


def print_report(found: dict[str, Any], home: Path, *, as_json: bool) -> None:
    from edgeveil.coordinator.records.records import RoundRecord
    from edgeveil.coordinator.reports.reading import both_models
    from edgeveil.coordinator.reports.tables import rounds_tables, summary_table
    from edgeveil.shared.tasks.registry import scoring

    if as_json:
        console.write_json(pieces(found))
        return
    rows = [RoundRecord.from_json(row) for row in found["rounds"][-SHOWN:]]
    known = {found["run"]: scoring(found["task"].partition(" ")[0])}
    for made, metric in rounds_tables(rows, known):
        console.stdout.print(console.fit(made, console.stdout, *CAN_BE_MISSED, metric))
    console.stdout.print(summary_table(found, both_models(home, found["run"])))


@app.command()
def privacy(
    run_id: RunArgument = None,
    home: console.HomeOption = None,
    as_json: console.JsonOption = False,
    html: Annotated[
        Path | None, Option("--html", metavar="FILE", help="Write the report as a page.")
    ] = None,
    lang: Annotated[Language, Option(help="Language of the page.")] = "en",
) -> None:
    """What a run can have cost its agents at most, who refused and why, and what is not covered.

    Example: coordinator privacy --html privacy.html
    """
    from edgeveil.coordinator.reports.privacy.report import read
    from edgeveil.shared.base.clock import SystemClock

    folder = console.home_of(ROLE, home)
    if html is None and _nothing_yet(folder, run_id, as_json=as_json):
        return
    found = read(folder, run_id, SystemClock(), quiet=as_json)
    if html is not None:
        from edgeveil.coordinator.reports.privacy.page import page
        from edgeveil.shared.base.files import write_file

        write_file(html, page(found, lang).encode())
        console.stderr.print(f"Wrote {html}")
    if as_json:
        console.print_json(found)
    if html is None and not as_json:
        _print_privacy(found)


def _print_privacy(found: dict[str, Any]) -> None:
    from edgeveil.coordinator.reports.privacy.page import two_of
    from edgeveil.shared.privacy.unlimited import shown

    guarantee = found["guarantee"]
    made = console.table(f"Privacy of {found['run']}", "what", "value")
    made.add_row(
        "ε planned", f"{shown(guarantee['epsilon_planned'], 'g')} at δ {guarantee['delta']:g}"
    )
    made.add_row(
        "ε of this run, any agent", f"at most {shown(guarantee['epsilon_at_most'], '.4f')}"
    )
    made.add_row("ε of this run, median", f"at most {shown(guarantee['epsilon_median'], '.4f')}")
    if two := two_of(found):
        made.add_row("ε of sums", f"at most {shown(two.sums, '.4f')} of {two.sums_limit:g} planned")
        made.add_row("of the plan", two.blocks())
    told = ", ".join(f"{code} {count}" for code, count in found["refusals"].items())
    made.add_row("refusals", told or "none")
    made.add_row("ε attested, all runs", _told(guarantee["epsilon_attested"]))
    console.stdout.print(made)
    for line in () if two is None else two.lines():
        console.stdout.print(line)


def _told(attested: dict[str, Any]) -> str:
    from edgeveil.shared.privacy.unlimited import shown

    told = len(attested["by_agent"])
    if not told:
        return "not told by any agent; their owners see it with: agent budget"
    silent = attested["agents_that_do_not_tell"]
    others = f"; {silent} do not tell" if silent else ""
    return f"at most {shown(attested['max'], '.4f')}, median {shown(attested['median'], '.4f')}, by {told} agents{others}"
