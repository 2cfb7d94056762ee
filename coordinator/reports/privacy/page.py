"""The coordinator's privacy report as a page that a person without mathematics can read."""

from collections.abc import Mapping
from typing import Any

from edgeveil.coordinator.reports.privacy.words import Words
from edgeveil.shared.pages.markup import Tile
from edgeveil.shared.pages.words import Language
from edgeveil.shared.privacy.report import chart, sections
from edgeveil.shared.privacy.report import words as privacy_words
from edgeveil.shared.privacy.report.page import Page, Section, Sheet
from edgeveil.shared.privacy.report.two_figures import TwoFigures
from edgeveil.shared.privacy.unlimited import from_json, shown

Report = Mapping[str, Any]


def page(report: Report, language: Language = "en") -> str:
    """HTML of a report made by coordinator.reports.privacy.report."""
    words, guarantee, unit = Words(language), report["guarantee"], report["privacy_unit"]
    planned = _shown(guarantee["epsilon_planned"], words, "g")
    trust = report["trust_model"]
    return Page(
        language=language,
        title=words("title"),
        subtitle=f"{report['run']} · {report['identity']['time']}",
        headline=_headline(report, words),
        paragraphs=(privacy_words.Words(language).again(guarantee["in_words"]),),
        used=guarantee["share_spent"],
        two=two_of(report),
        tiles=(
            Tile(
                words("at_most"),
                _shown(guarantee["epsilon_at_most"], words, ".3g"),
                words("of_planned", planned=planned, delta=f"{guarantee['delta']:g}"),
            ),
            *_sums_tile(guarantee, words),
            Tile(
                words("median"),
                _shown(guarantee["epsilon_median"], words, ".3g"),
                words("this_run"),
            ),
            Tile(words("asked"), str(report["agents"]["asked"]), words("all_rounds")),
            Tile(words("refusals"), str(sum(report["refusals"].values())), words("they_decide")),
        ),
        curve=_curve(guarantee, words) if guarantee["curve"] and guarantee["limited"] else None,
        sections=(
            sections.gaps(report["not_covered"], language, words.again),
            _limits(report, words),
            sections.protected(
                unit, language, rows=((words("across"), words.again(unit["across_agents"])),)
            ),
            sections.who_sees_what(trust, language, trust["secure_aggregation"]["protocol"]),
        ),
        details=tuple(part(report, words) for part in DETAILS),
        data=report,
        calm=True,
    ).render()


def two_of(report: Report) -> TwoFigures | None:
    """Both figures of a report, where noise is in shares."""
    guarantee = report["guarantee"]
    sums = guarantee["sums_only"]
    if "honest" not in sums:
        return None
    return TwoFigures(
        sums=from_json(sums["epsilon"]),
        sums_limit=from_json(sums["epsilon_planned"]),
        alone=from_json(sums["epsilon_alone"]),
        alone_limit=from_json(guarantee["epsilon_planned"]),
        honest=sums["honest"],
    )


def _sums_tile(guarantee: Report, words: Words) -> tuple[Tile, ...]:
    sums = guarantee["sums_only"]
    if "honest" not in sums:
        return ()
    planned, delta = f"{sums['epsilon_planned']:g}", f"{guarantee['delta']:g}"
    value = _shown(sums["epsilon"], words, ".3g")
    return (Tile(words("sums_only"), value, words("of_planned", planned=planned, delta=delta)),)


def _shown(value: float | None, words: Words, form: str) -> str:
    """An ε of the report; null is one that nothing limits."""
    return shown(value, form, words("not_limited"))


def _headline(report: Report, words: Words) -> str:
    guarantee = report["guarantee"]
    most, planned = guarantee["epsilon_at_most"], guarantee["epsilon_planned"]
    if most is None:
        noised = report["mechanism"]["noise_multiplier"] > 0
        return words("headline_began_without" if noised else "headline_unlimited")
    if most:
        tier = privacy_words.tier(most, privacy_words.Words(words.language))
        return words("headline", most=f"{most:.3g}", planned=f"{planned:g}", tier=tier)
    return words("all_refused") if report["refusals"] else words("nothing_yet")


def _curve(guarantee: Report, words: Words) -> chart.Curve:
    planned = guarantee["epsilon_planned"]
    points = [(p["attempt"], 1 - p["epsilon_at_most"] / planned) for p in guarantee["curve"]]
    return chart.Curve(words("curve"), words("curve_note"), points, across=words("curve_across"))


def _limits(report: Report, words: Words) -> Section:
    enforced = words.again(report["trust_model"]["enforced_by"])
    return Section(words("limits"), words("limits_note"), rows=((words("enforced_by"), enforced),))


def _guarantee(report: Report, words: Words) -> Section:
    g = report["guarantee"]
    sums = g["sums_only"]
    shown = sections.figure(sums["epsilon"], ".4g")
    planned = _shown(g["epsilon_planned"], words, "g")
    left = _shown(g["epsilon_left"], words, ".6g")
    return sections.listed(
        words("guarantee"),
        (words("planned"), words("with_spare", planned=planned)),
        (words("at_most_any"), _shown(g["epsilon_at_most"], words, ".6g")),
        (words("left"), words("left_rounds", left=left, n=f"{g['rounds_left']:,}")),
        (words("order_and_mu"), f"{g['best_order'] or '–'}, {sections.figure(g['gaussian_mu'])}"),
        (words("if_always"), _shown(g["epsilon_if_always_asked"], words, ".6g")),
        (
            words("attested"),
            f"{_attested(g['epsilon_attested'], words)}: {words.again(g['epsilon_attested_note'])}",
        ),
        ("δ", f"{g['delta']:g}: {words.again(g['delta_why'])}"),
        (
            words("sums_only"),
            f"{shown}: {privacy_words.Words(words.language).again(words.again(sums['note']))}",
        ),
    )


def _attested(told: Report, words: Words) -> str:
    if not told["by_agent"]:
        return words("nobody_tells")
    return words(
        "attested_sum",
        most=_shown(told["max"], words, ".6g"),
        median=_shown(told["median"], words, ".6g"),
        near=", ".join(told["near_budget"]) or words("none"),
        over=", ".join(told["at_or_over_budget"]) or words("none"),
        silent=told["agents_that_do_not_tell"],
    )


def _devices(report: Report, words: Words) -> Section:
    refused = report["agents"]["refused_for_budget"]
    told = report["guarantee"]["epsilon_attested"]["by_agent"]
    rows = [
        (
            name,
            _shown(value, words, ".4f"),
            *_told(told.get(name), words),
            str(refused.get(name, 0)),
        )
        for name, value in report["guarantee"]["epsilon_at_most_by_agent"].items()
    ]
    columns = words.headings("device", ">of_this_run", ">attested", ">of_its_limit", ">for_budget")
    return Section(words("devices"), sheet=Sheet(columns, rows))


def _told(budget: Report | None, words: Words) -> tuple[str, str]:
    if budget is None:
        return words("not_told"), "–"
    again = words("counted_anew", n=budget["resets"]) if budget["resets"] else ""
    spent = words(
        "spent_at", epsilon=_shown(budget["epsilon"], words, ".4f"), delta=f"{budget['delta']:g}"
    )
    return f"{spent}{again}", f"{budget['epsilon_limit']:g}"


def _refusals(report: Report, words: Words) -> Section:
    rows = [(code, str(count)) for code, count in report["refusals"].items()]
    intro = words("by_code") if rows else words("nobody_refused")
    return Section(words("refusals"), intro, sheet=Sheet(words.headings("code", ">times"), rows))


def _mechanism(report: Report, words: Words) -> Section:
    m, again = report["mechanism"], words.again
    rounds, spare = m["rounds_planned"], m["spare_rounds"]
    if "batch_size" in m:
        return _plain_mechanism(m, words)
    return sections.listed(
        words("mechanism"),
        (words("what"), again(m["name"])),
        (words("sigma_row"), f"{m['noise_multiplier']:g}, {m['sample_rate']:g}, {m['steps_per_round']}"),
        (words("clip_norm"), f"{m['clip_norm']:g}"),
        (words("optimiser"), words("with_rate", what=m["optimizer"], rate=f"{m['learning_rate']:g}")),
        (words("rounds"), words("and_spare", n=rounds, spare=spare)),
        (words("sampling"), again(m["sampling"])),
        (words("gradients"), again(m["gradient_mode"])),
        (words("noise"), f"{again(m['noise_generator'])}; {again(m['arithmetic'])}"),
        (words("empty_draws"), again(m["empty_draws"])),
    )  # fmt: skip


def _plain_mechanism(m: Report, words: Words) -> Section:
    decay = f"{m['weight_decay']:g}"
    sigma = f"{m['noise_multiplier']:g}"
    return sections.listed(
        words("mechanism"),
        (words("what"), words.again(m["name"])),
        *([(words("whole_sigma"), sigma)] if m["noise_multiplier"] else []),
        (words("batch"), f"{m['batch_size']}, {m['steps_per_round']}"),
        (words("clip_norm"), f"{m['clip_norm']:g}"),
        (words("optimiser"), words("with_rate", what=m["optimizer"], rate=f"{m['learning_rate']:g}")),
        (words("schedule"), f"{m['schedule']}, {decay}"),
        (words("rounds"), words("and_spare", n=m["rounds_planned"], spare=m["spare_rounds"])),
    )  # fmt: skip


def _accounting(report: Report, words: Words) -> Section:
    a = report["accounting"]
    fits = words("within") if a["within_epsilon_planned"] else words("above")
    planned = _shown(a["epsilon_of_plan_and_spare_rounds"], words, ".6g")
    return sections.accounted(
        a,
        words.language,
        (words("composition"), words.again(a["composition"])),
        (words("plan_and_spare"), words("plan_fits", value=planned, fits=fits)),
        (words("attempts"), words("of_which", n=a["attempts"], aborted=a["attempts_aborted"])),
        (words("aborted_count"), words.again(a["aborted_attempts_counted"])),
    )


def _rounds(report: Report, words: Words) -> Section:
    rows = [
        (
            str(r["round"]),
            str(r["attempt"]),
            words(f"outcome_{r['outcome']}") + (f" ({r['reason']})" if r["reason"] else ""),
            str(r["asked"]),
            str(r["in_the_sum"]),
            str(r["refused"]),
        )
        for r in report["rounds"]
    ]
    columns = words.headings(
        ">round", ">attempt", "outcome", ">asked_round", ">in_the_sum", ">refused"
    )
    return Section(words("cohorts"), sheet=Sheet(columns, rows))


def _identity(report: Report, words: Words) -> Section:
    i = report["identity"]
    task = i["task"]
    return sections.listed(
        words("identity"),
        (words("task"), f"{task['id']} {task['version']} ({task['hash'] or words('not_kept')})"),
        (words("plan"), i["plan_sha256"]),
        (words("proposal"), i["proposal_sha256"]),
        (words("software"), i["software"]),
    )


def _utility(report: Report, words: Words) -> Section:
    u = report["utility"]
    scores = ", ".join(f"{name} {value:.4g}" for name, value in u["scores"].items())
    where = words.again(u["scores_on"])
    return sections.listed(
        words("utility"),
        (words("scores"), words("scores_on", what=scores or words("not_evaluated"), where=where)),
        (words("device_metrics"), words.again(u["metrics_mode"])),
        (words("sentence"), _again(u["sentence"], words)),
    )


def _again(sentence: str, words: Words) -> str:
    """The tier within it is a word of both sides."""
    tier = sentence.partition(":")[0]
    said = privacy_words.Words(words.language).again(tier)
    return words.again(sentence).replace(tier, said, 1)


DETAILS = (
    _guarantee,
    _devices,
    _refusals,
    _mechanism,
    _accounting,
    _rounds,
    _identity,
    _utility,
)
