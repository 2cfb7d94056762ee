"""The report of a run as one HTML file: what was planned, what happened, what it cost."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePath

from edgeveil.coordinator.records.records import InitialModel, Outcome
from edgeveil.coordinator.reports import charts
from edgeveil.coordinator.reports.facts import STAGES, RunFacts, reasons_of
from edgeveil.coordinator.reports.pictures import pictures
from edgeveil.coordinator.reports.rows import attempts_table, plan_table, planned_facts
from edgeveil.coordinator.reports.standing import best_round, standing
from edgeveil.coordinator.reports.views import drawn
from edgeveil.coordinator.reports.words import Words
from edgeveil.shared.base.installed import installed
from edgeveil.shared.pages.charts import strip, strip_key
from edgeveil.shared.pages.document import document
from edgeveil.shared.pages.markup import Raw, facts, section, table
from edgeveil.shared.pages.text import escape, human_bytes, utc
from edgeveil.shared.pages.words import Language
from edgeveil.shared.privacy.ledger.heads import ToldBudget
from edgeveil.shared.privacy.unlimited import share, shown
from edgeveil.shared.scores.views import said

MOST_TITLES = 1500  # cells of a participation map that each get a title of their own


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the report. `anchor`, `note` and `empty` are keys of words.*.toml: its heading, and the
    sentence below it, `empty` as long as there is no attempt. A section `of_rounds` is then left out, and one
    without a body always.
    """

    anchor: str
    body: Callable[[RunFacts, Words], str]  # HTML
    note: str = ""
    empty: str = ""
    of_rounds: bool = True


def report_page(found: RunFacts, language: Language, *, made: float) -> str:
    """A complete document; `made` in Unix seconds."""
    words = Words(language)
    title = words("title", run=found.run.run_id)
    parts = sections(found, words)
    when = utc(made, "%Y-%m-%d %H:%M UTC")
    version = installed().get("edgeveil", "")
    body = (
        f'<a class="skip" href="#main">{escape(words("skip"))}</a>'
        f"<header><small>Edgeveil · {escape(words('report'))}</small><h1>{escape(title)}</h1></header>"
        f"{contents(parts, words)}"
        f'<main id="main">{"".join(html for _, _, html in parts)}</main>'
        f"<footer><p>{escape(words('privacy_note'))}</p>"
        f"<p>{escape(words('made', when=when, version=version))}</p></footer>"
    )
    return document(language, f"{title} · Edgeveil", body, pictures=bool(found.galleries))


def contents(parts: list[tuple[str, str, str]], words: Words) -> str:
    links = "".join(f'<a href="#{anchor}">{escape(title)}</a>' for anchor, title, _ in parts)
    return f'<nav aria-label="{escape(words("contents"))}">{links}</nav>'


def sections(found: RunFacts, words: Words) -> list[tuple[str, str, str]]:
    """(anchor, title, HTML) of everything there is to say about a run."""
    made = []
    for part in SECTIONS:
        if found.records or not part.of_rounds:
            title, key = words(part.anchor), part.note if found.records else part.empty
            if body := part.body(found, words):
                html = section(part.anchor, title, body, words(key) if key else "")
                made.append((part.anchor, title, html))
    return made


def _summary(found: RunFacts, words: Words) -> str:
    records, committed, run = found.records, found.committed, found.run
    last = committed[-1] if committed else None
    values: dict[str, object] = {}
    here = standing(found)
    begins = charts.figures_of(found, here, words).below(charts.run_sentence(found, words))
    if run.simulated:
        values[words("simulated")] = words("made_up_devices")
    if run.reason:
        values[words("reason")] = run.reason
    values[words("task")] = f"{found.plan.task.id} {found.plan.task.version}"
    values[words("rounds")] = words(
        "rounds_done", done=len(committed), planned=found.plan.rounds.count,
        aborted=found.aborted,
    )  # fmt: skip
    values[words("agents")] = len(found.agents)
    if last is not None:
        for metric in found.scoring.metrics:
            if metric.name in last.metrics and metric is not here.metric:
                shown = metric.shown(last.metrics[metric.name])
                values[said(metric.title, words.language)] = shown
        least = min(len(record.survived) for record in committed)
        values[words("smallest_sum")] = words("of_agents", n=least, least=found.plan.secagg.n_min)
    values[words("seconds")] = f"{sum(record.seconds for record in records):.1f} s"
    up, down = (sum(getattr(r, key) for r in records) for key in ("bytes_up", "bytes_down"))
    values[words("traffic")] = words("up_down", up=human_bytes(up), down=human_bytes(down))
    if last is not None:
        folder = f"runs/{run.run_id}"
        if best_round(found) is not None:
            values[words("best_file")] = f"{folder}/best.safetensors"
        values[words("last_file")] = f"{folder}/last.safetensors"
    values[words("model")] = last.model_sha256 if last else words("none_yet")
    return begins + facts(values)


def _quality(found: RunFacts, words: Words) -> str:
    figures = charts.quality_figures(found, words)
    if not figures:
        return f"<p>{escape(words('not_evaluated'))}</p>"
    html = f'<div class="charts">{figures}</div>'
    views = "".join(drawn(view, words) for view in found.views)
    return f'{html}<div class="parts">{views}</div>' if views else html


def _participation(found: RunFacts, words: Words) -> str:
    titled = len(found.agents) * len(found.records) <= MOST_TITLES
    rows = [_attempts_row(found, words)]
    for agent in found.agents:
        cells = found.share(agent)
        asked = sum(1 for cell in cells if cell)
        survived = cells.count("survived")
        label = words("map_label", agent=agent, survived=survived, asked=asked)
        titles = _titles(found, agent, cells, words) if titled else []
        reasons = reasons_of(found.records, agent)
        why = ", ".join(f"{reason} ×{count}" for reason, count in reasons.most_common(4))
        drawn = Raw(strip(cells, label, titles))
        rows.append([agent, drawn, survived, asked, found.sizes.get(agent, "–"), why or "–"])
    parts = ("survived", "dropped", "refused")
    key = strip_key({part: words(part) for part in parts} | {"": words("not_asked")})
    headings = words.headings("agent", "attempts", ">took_part", ">asked", ">declares", "reasons")
    made = table(headings, rows, label=words("participation"))
    return f'{key}<div class="map">{made}</div>'


def _attempts_row(found: RunFacts, words: Words) -> list[object]:
    """What came of each attempt, above the agents."""
    cells = [
        "dropped" if record.outcome is Outcome.ABORTED else "survived" for record in found.records
    ]
    committed = len(found.committed)
    label = words(
        "rounds_done", done=committed, planned=found.plan.rounds.count,
        aborted=found.aborted,
    )  # fmt: skip
    return [f"({words('outcome')})", Raw(strip(cells, label)), committed, len(cells), "–", "–"]


def _titles(found: RunFacts, agent: str, cells: list[str], words: Words) -> list[str]:
    made = []
    for record, cell in zip(found.records, cells, strict=True):
        what = record.dropped_reasons.get(agent, "") if cell in {"dropped", "refused"} else ""
        shown = what or (words(cell).partition("(")[0].partition("（")[0].strip() if cell else "")
        made.append(words("cell", round=record.round, attempt=record.attempt, what=shown))
    return made


def _privacy(found: RunFacts, words: Words) -> str:
    limit = found.plan.limit
    rows = []
    for agent in found.agents:
        spent = found.charged(agent)
        told = attested(found.told.get(agent), words)
        charged = shown(spent, ".3f", words("not_limited"))
        rows.append([agent, charged, f"{share(spent, limit):.0%}", told])
    headings = words.headings("agent", ">charged", ">share_of_limit", ">attested")
    by_agent = table(headings, rows, label=words("charged"))
    figure = charts.spending_figure(found, words)
    return f'{planned_facts(found, words)}<div class="charts">{figure}<div>{by_agent}</div></div>'


def attested(told: ToldBudget | None, words: Words) -> str:
    """What a device says its ledger has charged over all runs, of which limit."""
    if told is None:
        return words("not_told")
    return words(
        "attested_of",
        spent=shown(told.epsilon, ".3f", words("not_limited")),
        limit=f"{told.epsilon_max:g}",
    )


def _stages(found: RunFacts, words: Words) -> str:
    rows = []
    for stage in STAGES:
        seconds = [r.stage_seconds[stage] for r in found.records if stage in r.stage_seconds]
        if seconds:
            mean = sum(seconds) / len(seconds)
            rows.append([words(f"stage_{stage}"), f"{mean:.2f}", f"{max(seconds):.2f}"])
    made = table(words.headings("stage", ">mean_s", ">longest_s"), rows, label=words("stages"))
    figures = charts.stage_figure(found, words) + charts.bytes_figure(found, words)
    return f'<div class="charts">{figures}</div>{made}'


def _origin(found: RunFacts, words: Words) -> str:
    seen = dict.fromkeys(
        ", ".join(f"{name} {version}" for name, version in versions.items())
        for record in found.records
        if isinstance(versions := record.extra.get("versions"), dict)
    )
    epochs = dict.fromkeys(
        str(record.extra["roster_epoch"])
        for record in found.records
        if "roster_epoch" in record.extra
    )
    initial = found.run.initial
    began = {} if initial is None else {words("initial_model"): _began(initial, words)}
    values: dict[str, object] = {
        words("run"): found.run.run_id,
        words("created"): utc(found.run.created),
        **began,
        words("version_row"): "; ".join(seen) or "–",
        words("roster_epoch"): ", ".join(epochs) or "–",
        words("plan_hash"): found.run.plan_hash,
    }
    return facts(values)


def _began(initial: InitialModel, words: Words) -> str:
    key = "initial_of_run" if initial.run else "initial_of_file"
    name = PurePath(initial.named).name
    values = {"run": initial.run, "number": initial.round, "file": name}
    return words(key, sha256=initial.source_sha256, **values)


# In the order of the page; a new section is a function and an entry (docs/extending.md, "A report section").
SECTIONS = (
    Section("summary", _summary, empty="empty", of_rounds=False),
    Section("quality", _quality, "quality_note"),
    Section("pictures", pictures, "pictures_note"),
    Section("participation", _participation, "participation_note"),
    Section("privacy", _privacy, "privacy_explained"),
    Section("stages", _stages),
    Section("rounds", attempts_table),
    Section("plan", lambda found, _words: plan_table(found), of_rounds=False),
    Section("origin", _origin, of_rounds=False),
)
