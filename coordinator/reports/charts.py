"""What a run's pages begin with, and their charts, drawn with shared.pages.charts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from edgeveil.coordinator.records.records import RoundRecord, RunState
from edgeveil.coordinator.reports.facts import STAGES, RunFacts
from edgeveil.coordinator.reports.standing import Standing, best_round
from edgeveil.coordinator.reports.words import Words
from edgeveil.shared.pages.charts import (
    DASHES,
    Line,
    bar_key,
    line_chart,
    line_key,
    meter,
    shown_places,
    stacked_bars,
)
from edgeveil.shared.pages.markup import Tile, figure, lead
from edgeveil.shared.pages.text import escape, human_seconds
from edgeveil.shared.privacy.unlimited import share, shown
from edgeveil.shared.scores.metric import MetricSpec
from edgeveil.shared.scores.views import Series, said

MOST_CURVES = 40  # curves that differ, in one chart


def state_word(state: str, words: Words) -> str:
    return words(f"state_{state}")


def run_sentence(found: RunFacts, words: Words) -> str:
    """How a run stands or ended."""
    done, count = len(found.committed), found.plan.rounds.count
    state = state_word(str(found.run.state), words)
    return words("run_so_far", state=state[:1].upper() + state[1:], done=done, count=count)


@dataclass(frozen=True, slots=True)
class Figures:
    """What every page of a run begins with, after a sentence; `bar` and `curve` are HTML."""

    tiles: Sequence[Tile]
    bar: str
    curve: str

    def below(self, sentence: str) -> str:
        return lead(sentence, self.tiles, below=self.bar, curve=self.curve)


def figures_of(found: RunFacts, here: Standing, words: Words) -> Figures:
    """The figure, ε, the time, the curve; as long as no attempt ends they stay the same."""
    tiles = [*_scores(found, here, words)]
    no_limit = words("not_limited")
    charged, planned = shown(here.epsilon, ".3g", no_limit), shown(here.planned, "g", no_limit)
    tiles.append(Tile(words("epsilon_so_far"), charged, words("of_planned", planned=planned)))
    if here.two is not None:
        sums, most = shown(here.two.sums, ".3g", no_limit), f"{here.two.sums_limit:g}"
        tiles.append(Tile(words("sums_so_far"), sums, words("of_planned", planned=most)))
    left = "–" if here.left_s is None else human_seconds(here.left_s)
    if found.run.state in {RunState.RUNNING, RunState.QUEUED}:
        tiles.append(Tile(words("time_left"), left, words("time_left_note")))
    else:
        took = sum(record.seconds for record in found.records)
        tiles.append(Tile(words("took"), human_seconds(took), words("took_note")))
    return Figures(tiles, _spent_bar(found, here, words), judged_figure(found, here.metric, words))


def _spent_bar(found: RunFacts, here: Standing, words: Words) -> str:
    if here.two is not None:
        return here.two.bar(words.language, calm=found.limited)
    used = share(here.epsilon, here.planned)
    return budget_bar(used, words("epsilon_used", share=f"{used:.0%}"), limited=found.limited)


def budget_bar(used: float, said: str, *, limited: bool) -> str:
    """With its sentence below it, for it stands where one looks for the share of rounds."""
    note = f'<p class="note">{escape(said)}</p>' if limited else ""
    return meter(used, said, calm=limited) + note


def _scores(found: RunFacts, here: Standing, words: Words) -> Iterator[Tile]:
    """The best model beside the last, each with its file."""
    best, metric = best_round(found), here.metric
    if metric is None or best is None:
        return
    title = said(metric.title, words.language)
    value = metric.shown(best.metrics[metric.name])
    yield Tile(words("best_of", title=title), value, words("at_round", round=best.round))
    where = words("at_round", round=found.committed[-1].round)
    change = here.change(words("points"))
    note = f"{where}, {change}" if change else where
    newest = metric.shown(here.value) if here.fresh else "–"
    yield Tile(words("last_of", title=title), newest, note)


def quality_figures(found: RunFacts, words: Words) -> str:
    """One chart for all metrics of the task with the same title; empty when nothing was measured."""
    made = ""
    for title, group in groupby(found.scoring.metrics, key=lambda metric: metric.chart):
        metrics = list(group)
        measured = [(metric.title, *found.metric(metric.name)) for metric in metrics]
        lines = [line for line in series(measured, words) if line.xs]
        if lines:
            key = line_key(lines) if len(metrics) > 1 else ""
            drawn = _quality_chart(metrics[0], lines, words)
            made += figure(said(title or metrics[0].title, words.language), drawn + key)
    return made


def judged_figure(found: RunFacts, metric: MetricSpec | None, words: Words) -> str:
    """The curve of the metric that judges; empty when it was not measured."""
    if metric is None:
        return ""
    lines = [
        line for line in series([(metric.title, *found.metric(metric.name))], words) if line.xs
    ]
    if not lines:
        return ""
    return figure(said(metric.title, words.language), _quality_chart(metric, lines, words))


def _quality_chart(metric: MetricSpec, lines: Sequence[Line], words: Words) -> str:
    share = metric.unit == "%"
    return line_chart(
        lines,
        label=spoken(lines, words("round")),
        across=words("round"),
        unit="%" if share else f" {metric.unit}".rstrip(),
        low=None if share else metric.range[0],
    )


def series(parts: Sequence[Series], words: Words) -> list[Line]:
    """(name, xs, ys) as lines that can be told apart."""
    return [
        Line(said(name, words.language), xs, ys, "two" if place else "one", DASHES[place % 4])
        for place, (name, xs, ys) in enumerate(parts)
    ]


def spoken(lines: Sequence[Line], across: str) -> str:
    """The first and last value of each line, for whoever cannot see it."""
    return "; ".join(
        f"{line.name}: {line.ys[0]:.3g} ({across} {line.xs[0]:g}) – "
        f"{line.ys[-1]:.3g} ({across} {line.xs[-1]:g})"
        for line in lines
        if line.xs
    )


def stage_figure(found: RunFacts, words: Words) -> str:
    names = [words(f"stage_{stage}") for stage in STAGES]
    records = [record for record in found.records if record.stage_seconds]
    heights = [[r.stage_seconds.get(stage, 0.0) for stage in STAGES] for r in records]
    label = f"{words('stages_chart')}: {', '.join(names)}"
    drawn = stacked_bars(
        names, _rounds(records), heights, label=label, across=words("round"), unit=" s"
    )
    return figure(words("stages_chart"), drawn + bar_key(names)) if drawn else ""


def bytes_figure(found: RunFacts, words: Words) -> str:
    xs = _rounds(found.records)
    lines = [
        Line(words("up"), xs, [r.bytes_up / 1e6 for r in found.records]),
        Line(words("down"), xs, [r.bytes_down / 1e6 for r in found.records], "two", DASHES[1]),
    ]
    drawn = line_chart(lines, label=spoken(lines, words("round")), across=words("round"), low=0.0)
    return figure(words("bytes_chart"), drawn + line_key(lines)) if drawn else ""


def spending_figure(found: RunFacts, words: Words) -> str:
    """One step curve per agent that differs, the largest drawn bold, and the plan's limit; none without one."""
    if not found.limited:
        return ""
    kept = shown_places(len(found.records))
    xs = [0.0, *(float(place + 1) for place in kept)]
    curves = {tuple(map(int, paid)) for paid in found.paid[:, kept]}
    most = sorted(curves, key=lambda paid: paid[-1] if paid else 0, reverse=True)[:MOST_CURVES]
    asked = [int(found.asked[place]) for place in kept]
    ordered = [list(map(found.epsilon_after, paid, asked)) for paid in most]
    limit = found.plan.limit
    lines = [Line("", xs, [0.0, *curve], "thin") for curve in ordered[1:]]
    shown = [Line(words("most_charged"), xs, [0.0, *ordered[0]])] if ordered else []
    if ordered and found.proposal.shared_noise:
        sums = [each or 0.0 for each in map(found.epsilon_sum_after, most[0], asked)]
        shown.append(Line(words("sums_so_far"), xs, [0.0, *sums], "two", DASHES[2]))
    shown.append(Line(words("limit"), [xs[0], xs[-1]], [limit, limit], "limit", DASHES[1]))
    label = f"{words('privacy_chart')}. {spoken(shown, words('round'))}"
    drawn = line_chart([*lines, *shown], label=label, across=words("attempts"), low=0.0, high=limit)
    others = [Line(words("each_agent"), xs, xs, "thin")] if lines else []
    return figure(words("privacy_chart"), drawn + line_key([*shown, *others]))


def _rounds(records: Sequence[RoundRecord]) -> list[float]:
    return [float(record.round) for record in records]
