"""The study as one HTML file: what was best, what was tried, what mattered."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from edgeveil.coordinator.tuning.outcome import Outcome
from edgeveil.coordinator.tuning.space import Axis
from edgeveil.coordinator.tuning.study import Tried
from edgeveil.coordinator.tuning.words import Words
from edgeveil.shared.base.installed import installed
from edgeveil.shared.pages.charts import DASHES, Line, line_chart, line_key, meter
from edgeveil.shared.pages.document import document
from edgeveil.shared.pages.markup import Raw, facts, scrolling, section, table
from edgeveil.shared.pages.svg import drawing, number
from edgeveil.shared.pages.text import escape, short, utc
from edgeveil.shared.pages.words import Language
from edgeveil.shared.scores.views import said

BETWEEN, TOP, TALL, SIDE = 120, 24, 190, 60  # of the axes of parallel coordinates
MOST_LINES = 500  # the last trials; more cannot be told apart


def study_page(found: Outcome, language: Language, *, made: float) -> str:
    """A complete document; `made` in Unix seconds."""
    words = Words(language)
    title = words("title", plan=found.plan_name)
    when, version = utc(made, "%Y-%m-%d %H:%M UTC"), installed().get("edgeveil", "")
    body = (
        f"<header><small>Edgeveil · {escape(words('tuning'))}</small><h1>{escape(title)}</h1></header>"
        f'<main id="main">{_summary(found, words)}{_history(found, words)}{_parallel(found, words)}'
        f"{_importance(found, words)}{_trials(found, words)}{_origin(found, words)}</main>"
        f"<footer><p>{escape(words('made', when=when, version=version))}</p></footer>"
    )
    return document(language, f"{title} · Edgeveil", body)


def headline(found: Outcome, words: Words) -> str:
    name = said(found.metric.title, words.language)
    plain, gained = found.metric.shown(found.baseline), found.gained
    if found.best is None:
        return words("none_finished")
    if gained is None:
        return words("not_better", title=name, plain=plain)
    best = found.metric.shown(gained.value)
    return words("better", title=name, best=best, number=gained.number, plain=plain)


def _summary(found: Outcome, words: Words) -> str:
    sums = f"{found.sums:g}"
    notes = (
        words("caution", validation=found.setting.validation),
        words("on_devices", alone=f"{found.plan.limit:g}", sums=sums),
    )
    best = found.best
    rows = [
        [name, shown(found.in_plan(name)), shown(best.values.get(name)) if best else "–"]
        for name in found.space.axes
    ]
    below = "".join(f"<p>{escape(each, 1000)}</p>" for each in notes)
    made = table(words.headings("key", "in_plan", "in_best"), rows, label=words("best_settings"))
    text = f'<p class="headline">{escape(headline(found, words), 1000)}</p>{below}{made}'
    return section("best", words("best_settings"), text)


def _history(found: Outcome, words: Words) -> str:
    judged = [each for each in found.tried if each.value is not None]
    xs = [float(each.number) for each in judged]
    ys = [each.value or 0.0 for each in judged]
    pick, best = max if found.metric.higher_is_better else min, list[Tried]()
    for each in judged:
        if each.how == "finished" or best:
            before = [one.value or 0.0 for one in best[-1:]]
            now = [each.value or 0.0] if each.how == "finished" else []
            best.append(replace(each, value=pick([*before, *now])))
    lines = [
        Line(
            words("best_so_far"),
            [float(each.number) for each in best],
            [each.value or 0.0 for each in best],
        ),
        Line(words("each_trial"), xs, ys, "two", DASHES[2]),
        Line(
            words("plan_as_is"), [1.0, max(2.0, *xs, 2.0)], [found.baseline] * 2, "limit", DASHES[1]
        ),
    ]
    share = found.metric.unit == "%"
    drawn = line_chart(
        lines,
        label=headline(found, words),
        across=words("trial"),
        unit="%" if share else f" {found.metric.unit}".rstrip(),
    )
    return section("history", words("history"), f"<figure>{drawn}{line_key(lines)}</figure>")


def _parallel(found: Outcome, words: Words) -> str:
    tried = [each for each in found.tried if each.value is not None][-MOST_LINES:]
    if not tried:
        return ""
    values = [each.value or 0.0 for each in tried]
    axes = [
        *found.space.axes.items(),
        ("", Axis.model_construct(low=min(values), high=max(values))),
    ]
    metric = said(found.metric.title, words.language)
    parts = [
        _drawn_axis(place, name.rpartition(".")[2] or metric, axis)
        for place, (name, axis) in enumerate(axes)
    ]
    ordered = sorted(tried, key=lambda each: each == found.best)  # the best one on top
    parts += [_drawn_trial(each, axes, best=each == found.best) for each in ordered]
    width = 2 * SIDE + BETWEEN * (len(axes) - 1)
    drawn = drawing("".join(parts), headline(found, words), width=width, height=TOP + TALL + 40)
    inner = scrolling(drawn, words("parallel"))
    return section("parallel", words("parallel"), inner, words("parallel_note"))


def _drawn_axis(place: int, name: str, axis: Axis) -> str:
    x, bottom = SIDE + BETWEEN * place, TOP + TALL
    made = f'<path class="axis" d="M{x} {TOP}V{bottom}"/>'
    ticks = axis.choices if axis.choices is not None else (axis.low, axis.high)
    for value in ticks:
        y = number(_height(axis, value) + 4)
        made += f'<text x="{x + 5}" y="{y}">{escape(shown(value), 16)}</text>'
    return f'{made}<text x="{x}" y="{bottom + 26}" text-anchor="middle">{escape(name, 20)}</text>'


def _drawn_trial(tried: Tried, axes: Sequence[tuple[str, Axis]], *, best: bool) -> str:
    points = " ".join(
        f"{SIDE + BETWEEN * place},{number(_height(axis, tried.values.get(name) if name else tried.value))}"
        for place, (name, axis) in enumerate(axes)
    )
    kind = "one" if best else "thin"
    dash = "" if tried.how == "finished" else f' stroke-dasharray="{DASHES[2]}"'
    title = f"{tried.number}: {', '.join(f'{k} {shown(v)}' for k, v in tried.values.items())}"
    return f'<polyline class="line {kind}"{dash} points="{points}"><title>{escape(title)}</title></polyline>'


def _height(axis: Axis, value: Any) -> float:
    """Where a value lies on its axis, in units of the drawing from above."""
    if axis.choices is not None:
        share = list(axis.choices).index(value) / (len(axis.choices) - 1)
    else:
        low, high, at = (float(each or 0.0) for each in (axis.low, axis.high, value))
        if axis.log:
            low, high, at = math.log(low), math.log(high), math.log(at)
        share = (at - low) / ((high - low) or 1.0)
    return TOP + TALL * (1 - share)


def _importance(found: Outcome, words: Words) -> str:
    if not found.importance:
        return section(
            "importance", words("importance"), f"<p>{escape(words('importance_none'))}</p>"
        )
    rows = [
        [name, Raw(meter(part, f"{name}: {part:.0%}", calm=True)), f"{part:.0%}"]
        for name, part in sorted(found.importance.items(), key=lambda each: -each[1])
    ]
    made = table([words("key"), "", f">{words('share')}"], rows, label=words("importance"))
    inner = f'<div class="map">{made}</div>'
    return section("importance", words("importance"), inner, words("importance_note"))


def _trials(found: Outcome, words: Words) -> str:
    names, metric = list(found.space.axes), said(found.metric.title, words.language)
    how = {
        "finished": words("finished"),
        "pruned": words("pruned"),
        "refused": words("refused"),
        "diverged": words("diverged"),
    }
    rows = [
        [
            each.number,
            found.metric.shown(each.value),
            how[each.how] + (f": {each.why}" if each.why else ""),
            each.rounds,
            f"{each.seconds:.1f} s",
            *(shown(each.values.get(name)) for name in names),
        ]
        for each in found.tried
    ]
    headings = [words("trial"), f">{metric}", words("outcome"), f">{words('rounds')}", ">s", *names]
    return section("trials", words("all_trials"), table(headings, rows, label=words("all_trials")))


def _origin(found: Outcome, words: Words) -> str:
    setting, plan = found.setting, found.plan
    least, most = min(setting.sizes), max(setting.sizes)
    values = {
        words("task"): f"{plan.task.id} {plan.task.version}",
        words("devices"): setting.agents,
        words("records"): f"{least}" if least == most else f"{least}–{most}",
        words("partition"): setting.partition,
        words("validation"): setting.validation,
        words("seed"): setting.seed,
    }
    return section("origin", words("how_made"), facts(values))


def shown(value: Any) -> str:
    """A setting as people read it."""
    if value is None:
        return "–"
    return short(value) if isinstance(value, float) else str(value)
