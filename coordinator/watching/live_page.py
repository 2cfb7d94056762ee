"""The live page: where the coordinator stands, who is there, and the charts of the present run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from edgeveil.coordinator.records.records import Run
from edgeveil.coordinator.reports.charts import Figures, figures_of, run_sentence, state_word
from edgeveil.coordinator.reports.facts import RunFacts, natural
from edgeveil.coordinator.reports.page import attested, sections
from edgeveil.coordinator.reports.standing import standing
from edgeveil.coordinator.reports.words import Words
from edgeveil.coordinator.watching.live import ANSWERED, AWAY, CONNECTED, WAITING, Now
from edgeveil.coordinator.watching.waiting import Waiting, sentence
from edgeveil.shared.events.log import EventLine
from edgeveil.shared.pages.document import live_document
from edgeveil.shared.pages.markup import Raw, facts, folded, section, table
from edgeveil.shared.pages.text import escape, utc
from edgeveil.shared.pages.words import Language
from edgeveil.shared.privacy.ledger.heads import ToldBudget

SHOWN_RUNS = 20
SHOWN_EVENTS = 15
ROUTINE = ("agent.select", "agent.reply", "stage.start")  # shown by the parts above
SHOWN_SECTIONS = ("quality", "participation", "privacy", "stages", "rounds")


@dataclass(frozen=True)
class View:
    """`agents` as in `coordinator status`; `found`: the run under way, else the last; `at`: now.

    `told`: what agents attest of their budgets, by name; `waits`: what the run under way waits for;
    `drawn`: draw() of `found`.
    """

    url: str
    now: Now
    agents: Sequence[Mapping[str, Any]]
    found: RunFacts | None
    runs: Sequence[Run]
    at: float
    told: Mapping[str, ToldBudget] = field(default_factory=dict)
    waits: Waiting = field(default_factory=Waiting)
    drawn: "Drawn | None" = None


@dataclass(frozen=True)
class Drawn:
    """The parts of the page that change only when an attempt ends; worth keeping. `sections` is HTML."""

    figures: Figures
    sections: str


def draw(found: RunFacts, charges: int, words: Words) -> Drawn:
    """`charges`: rounds that the run has charged the device that was asked most often."""
    shown = (html for anchor, _, html in sections(found, words) if anchor in SHOWN_SECTIONS)
    return Drawn(figures_of(found, standing(found, charges=charges), words), "".join(shown))


def live_page(view: View, language: Language) -> str:
    words = Words(language)
    title = escape(words("live_title"))
    head = f"<small>Edgeveil · {title}</small><h1>{escape(view.url)}</h1>"
    main = (
        f"{_now(view, words)}{_agents(view, words)}{view.drawn.sections if view.drawn else ''}"
        f"{_runs(view, words)}{_events(view.now.recent, words)}"
    )
    foot = f"<p>{escape(words('privacy_note'))}</p>"
    return live_document(words, _headline(view, words), head, main, foot)


def _headline(view: View, words: Words) -> str:
    now = view.now
    waits = sentence(view.waits, words)
    return f"{words('round')} {now.round} · {waits}" if now.run else waits


def _now(view: View, words: Words) -> str:
    now, found = view.now, view.found
    said = _headline(view, words)
    if found is not None and not now.run:
        said = run_sentence(found, words)
    said = said[:1].upper() + said[1:]
    values: dict[str, object] = {}
    begins = f'<p class="headline">{escape(said, 2000)}</p>'
    if found is not None:
        begins = view.drawn.figures.below(said) if view.drawn else begins
        run = found.run
        values[words("run")] = run.run_id
        values[words("state")] = state_word(str(run.state), words)
        if run.reason:
            values[words("reason")] = run.reason
        done, count = len(found.committed), found.plan.rounds.count
        number = now.round if now.run else done
        values[words("round")] = words("round_of", round=number, count=count)
    if now.parts:
        values[words("attempt")] = now.attempt
        values[words("answered")] = words("n_of_m", n=now.answered, m=now.taking_part)
    shown = begins + (facts(values) if values else "")
    return section("now", words("now"), shown, "" if found else words("no_runs"))


def _agents(view: View, words: Words) -> str:
    if not view.agents:
        return section("agents", words("agents"), "", words("no_agents"))
    named = sorted(view.agents, key=lambda one: natural(str(one["name"])))
    away = [agent for agent in named if agent["state"] in AWAY]
    here = [agent for agent in named if agent not in away]
    here.sort(key=lambda agent: agent["state"] != CONNECTED)  # the active first
    html = _table(here, view, words) if here else ""
    if away:
        title = words("agents_away", n=len(away), all=len(named))
        html += folded(title, _table(away, view, words), shown=False)
    return section("agents", words("agents"), html)


def _table(agents: Sequence[Mapping[str, Any]], view: View, words: Words) -> str:
    rows = []
    for agent in agents:
        state = str(agent["state"])
        kind = "good" if state == CONNECTED else "warn"
        shown = words(f"agent_{state}") if f"agent_{state}" in words else state
        rows.append(
            [
                agent["name"],
                Raw(f'<span class="{kind}">{escape(shown)}</span>'),
                _ago(agent["last_seen"], view.at, words),
                _part(view.now.parts.get(str(agent["name"]), ""), words),
                attested(view.told.get(str(agent["name"])), words),
            ]
        )
    headings = words.headings("agent", "state", "last_seen", "in_round", "attested")
    return table(headings, rows, label=words("agents"))


def _part(part: str, words: Words) -> str:
    if part in {"", WAITING, ANSWERED}:
        return {"": "–", WAITING: words("part_waiting"), ANSWERED: words("part_answered")}[part]
    return words("part_left", reason=part)


def _ago(seen: float | None, at: float, words: Words) -> str:
    if seen is None:
        return words("never")
    seconds = max(0, int(at - seen))
    return words("ago", s=seconds) if seconds < 120 else words("ago_min", m=seconds // 60)


def _runs(view: View, words: Words) -> str:
    if not view.runs:
        return ""
    rows = []
    for run in list(reversed(view.runs))[:SHOWN_RUNS]:
        link = f'<a href="runs/{quote(run.run_id)}?lang={words.language}">{escape(run.run_id)}</a>'
        created = utc(run.created, "%Y-%m-%d %H:%M")
        rows.append([Raw(link), state_word(str(run.state), words), created])
    made = table(words.headings("run", "state", "created"), rows, label=words("runs"))
    return section("runs", words("runs"), made)


def _events(recent: Sequence[EventLine], words: Words) -> str:
    told_of = [line for line in recent if line.event not in ROUTINE or line.level != "info"]
    if not told_of:
        return ""
    rows = []
    for line in list(reversed(told_of))[:SHOWN_EVENTS]:
        where = f"{line.round}.{line.attempt}" if line.round else "–"
        told = " ".join(part for part in (line.stage, line.agent, line.reason) if part)
        kind = {"warning": "warn", "error": "bad", "alarm": "bad"}.get(line.level, "")
        event = Raw(f'<span class="{kind}">{escape(line.event)}</span>')
        rows.append([utc(line.ts, "%H:%M:%S"), event, where, told or "–"])
    headings = words.headings("time", "event", "round", "reason")
    return section("events", words("events"), table(headings, rows, label=words("events")))
