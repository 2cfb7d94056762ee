"""`coordinator top`: one picture of a coordinator, drawn again and again on a terminal."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from edgeveil.coordinator.cli.operator import read_status
from edgeveil.coordinator.records.records import RoundRecord, Run, RunState, Totals
from edgeveil.coordinator.reports.facts import RunFacts, natural
from edgeveil.coordinator.reports.standing import seconds_left
from edgeveil.coordinator.reports.tables import SHOWN_STAGE, headline_cell, outcome_text
from edgeveil.coordinator.reports.words import Words
from edgeveil.coordinator.store.store import Store
from edgeveil.coordinator.watching.live import ANSWERED, AWAY, CONNECTED, WAITING, Now
from edgeveil.coordinator.watching.waiting import Waiting, sentence
from edgeveil.shared.events.tail import as_text
from edgeveil.shared.pages.text import human_bytes, human_seconds
from edgeveil.shared.privacy.ledger.heads import ToldBudget
from edgeveil.shared.privacy.report.two_figures import TwoFigures
from edgeveil.shared.privacy.unlimited import in_json, share, shown
from edgeveil.shared.scores.metric import MetricSpec
from edgeveil.shared.terminal.console import table, without

EVERY_S = 0.5
LAST_ROUNDS = 8
RECENT = 20  # attempts, for the throughput
LAST_EVENTS = 6
NARROW = 64  # columns of a terminal
MOST_AGENTS = 20  # rows; the rest is counted


@dataclass(frozen=True)
class Picture:
    """`records`: the newest attempts of `run`, oldest first; `charged`: ε by agent, at most.

    `told`: what agents attest of their whole budgets, by name.
    """

    status: dict[str, Any]
    now: Now
    told: Mapping[str, ToldBudget]
    run: Run | None = None
    records: Sequence[RoundRecord] = ()
    totals: Totals = field(default_factory=Totals)
    charged: Mapping[str, float] = field(default_factory=dict)
    headline: MetricSpec | None = None
    rounds: int = 0
    limit: float = 0.0
    left_s: float | None = None
    two: TwoFigures | None = None  # of whoever was charged most, where noise is in shares

    def as_json(self) -> dict[str, Any]:
        return {
            "status": self.status,
            "now": self.now.as_json(),
            "rounds_planned": self.rounds,
            "rounds_committed": self.totals.committed,
            "attempts_aborted": self.totals.aborted,
            "epsilon_charged": {name: in_json(spent) for name, spent in self.charged.items()},
            "epsilon_limit": in_json(self.limit),
            **self._sums(),
            "epsilon_attested": {
                name: {**asdict(told), "epsilon": in_json(told.epsilon)}
                for name, told in self.told.items()
            },
            "rounds": [record.as_json() for record in self.records[-LAST_ROUNDS:]],
        }

    def _sums(self) -> dict[str, float | None]:
        two = self.two
        if two is None:
            return {}
        return {
            "epsilon_sum": in_json(two.sums),
            "epsilon_alone": in_json(two.alone),
            "epsilon_sum_limit": two.sums_limit,
        }


def look(home: Path) -> Picture:
    """As it is now; costs the same however many rounds there were."""
    status = read_status(home)
    now = Now.from_json(status.pop("live", {}))
    with Store.open(home, read_only=True) as store:
        run = store.run(status["run"]) if status["run"] else store.last_run()
        told = store.told_budgets()
        if run is None:
            return Picture(status, now, told)
        found = RunFacts(run, store.rounds(run.run_id, last=RECENT))
        charges, totals = store.charges(run.run_id), store.totals(run.run_id)
    evaluations = found.plan.evaluation.until(totals.committed, found.plan.rounds.count)
    return Picture(
        status,
        now,
        told,
        run=run,
        records=found.records,
        totals=totals,
        charged={
            agent: found.epsilon_after(times, evaluations) for agent, times in charges.items()
        },
        headline=found.scoring.headline,
        rounds=found.plan.rounds.count,
        limit=found.plan.limit,
        left_s=seconds_left(found.committed, found.plan.rounds.count - totals.committed),
        two=found.two_after(max(charges.values(), default=0), evaluations),
    )


def watch(home: Path, console: Console, *, once: bool, everybody: bool = False) -> None:
    """Draw until interrupted; `everybody`: those who are away one by one too."""
    if once:
        console.print(draw(look(home), time.time(), console.width, everybody=everybody))
        return
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            seen = draw(look(home), time.time(), console.width, everybody=everybody)
            live.update(seen, refresh=True)
            time.sleep(EVERY_S)


def draw(picture: Picture, at: float, width: int, *, everybody: bool = False) -> Group:
    narrow = width < NARROW
    parts: list[Any] = [_head(picture), _progress(picture, at)]
    if picture.two is not None:
        parts += [Text(line) for line in picture.two.lines()]
    if picture.status["agents"]:
        agents = _agents(picture, at, everybody=everybody)
        parts.append(_fitted(agents, ("seen s ago", "ε attested") if narrow else ()))
    if picture.records:
        missed = ("try", picture.headline.name if picture.headline else "")
        parts.append(_fitted(_rounds(picture), missed if narrow else ()))
    if picture.now.recent:
        parts.append(Text("Events", style="italic"))
        parts += [as_text(line) for line in picture.now.recent[-LAST_EVENTS:]]
    return Group(
        *(Padding(part, (0, 0, 1, 0)) if isinstance(part, Table) else part for part in parts)
    )


def _fitted(made: Table, left_out: tuple[str, ...]) -> Table:
    """No cell in pieces: without the columns that can be missed, and cut off where still too long."""
    made = without(made, left_out)
    for column in made.columns:
        column.no_wrap, column.overflow = True, "ellipsis"
    first = made.columns[0]
    first.min_width = max((len(str(cell)) for cell in first.cells), default=1)
    return made


def _head(picture: Picture) -> Text:
    status = picture.status
    running = f"pid {status['pid']}" if status["pid"] else "not running"
    page = f"  page {status['page']}" if status.get("page") else ""
    return Text.assemble((status["url"], "bold"), f"  {running}{page}")


def _progress(picture: Picture, at: float) -> Table:
    now, run = picture.now, picture.run
    made = Table.grid(padding=(0, 2))
    if run is None:
        made.add_row("no run yet; start one with: coordinator run plan.toml")
        return made
    done = picture.totals.committed
    bar = ProgressBar(total=max(1, picture.rounds), completed=done, width=24)
    made.add_row("run", run.run_id, Text(str(run.state)))
    made.add_row("rounds", bar, f"{done} of {picture.rounds}")
    if now.run == run.run_id and now.stage:
        stage = SHOWN_STAGE.get(now.stage, now.stage)
        said = f"round {now.round} attempt {now.attempt}: {stage}, {max(0.0, at - now.since):.0f} s"
        made.add_row("now", said, f"{now.answered} of {now.taking_part} answered")
        waits = Waiting(**picture.status.get("waits_for", {}))
        made.add_row("waits for", sentence(waits, Words("en")), "")
    if picture.left_s is not None and run.state in {RunState.RUNNING, RunState.QUEUED}:
        made.add_row("time left", f"about {human_seconds(picture.left_s)}", "")
    made.add_row("throughput", *_throughput(picture.records))
    if picture.charged:
        most = max(picture.charged.values())
        used = share(most, picture.limit)
        spent: RenderableType = ProgressBar(total=1.0, completed=used, width=24)
        if picture.two is not None:
            spent = Text(picture.two.blocks(24))
        of_all = f"{shown(most, '.2f')} of {shown(picture.limit, 'g')} at most"
        made.add_row("ε charged", spent, of_all)
    return made


def _throughput(records: Sequence[RoundRecord]) -> tuple[str, str]:
    newest = records[-RECENT:]
    seconds = sum(record.seconds for record in newest)
    if not seconds:
        return "–", ""
    moved = sum(record.bytes_up + record.bytes_down for record in newest)
    per_hour = 3600 * len(newest) / seconds
    return f"{per_hour:.0f} attempts an hour", f"{human_bytes(moved / seconds)}/s"


def _agents(picture: Picture, at: float, *, everybody: bool) -> Table:
    """The active first; those who are away are counted, or at the end."""
    made = table(
        "Agents", "name", "state", ">seen s ago", "this attempt", ">ε charged", ">ε attested"
    )
    named = sorted(picture.status["agents"], key=lambda agent: natural(agent["name"]))
    here = [agent for agent in named if agent["state"] not in AWAY]
    here.sort(key=lambda agent: agent["state"] != CONNECTED)
    away = [agent for agent in named if agent["state"] in AWAY]
    agents = [*here, *away] if everybody else here
    for agent in agents if everybody else agents[:MOST_AGENTS]:
        name, seen = agent["name"], agent["last_seen"]
        part = picture.now.parts.get(name, "–")
        style = {ANSWERED: "green", WAITING: "", "–": ""}.get(part, "yellow")
        spent = picture.charged.get(name)
        made.add_row(
            name,
            Text(agent["state"], style="green" if agent["state"] == CONNECTED else "yellow"),
            "never" if seen is None else f"{max(0.0, at - seen):.0f}",
            Text(part, style=style),
            "–" if spent is None else shown(spent, ".2f"),
            _told(picture.told.get(name)),
        )
    if len(agents) > MOST_AGENTS and not everybody:
        made.add_row(f"and {len(agents) - MOST_AGENTS} more", *[""] * 5)
    if away and not everybody:
        made.add_row(f"and {len(away)} away", "--all", *[""] * 4)
    return made


def _told(budget: ToldBudget | None) -> str:
    return "–" if budget is None else f"{shown(budget.epsilon, '.2f')} of {budget.epsilon_max:g}"


def _rounds(picture: Picture) -> Table:
    headline = picture.headline
    quality = () if headline is None else (f">{headline.name}",)
    made = table("Rounds", ">round", ">try", "outcome", ">agents", *quality, ">s")
    for record in reversed(picture.records[-LAST_ROUNDS:]):
        made.add_row(
            str(record.round),
            str(record.attempt),
            outcome_text(record),
            f"{len(record.survived)}/{len(record.selected)}",
            *headline_cell(record, headline),
            f"{record.seconds:.1f}",
        )
    return made
