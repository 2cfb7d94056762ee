"""The coordinator's privacy report as a page that a person without mathematics can read."""

from collections.abc import Mapping
from typing import Any

from edgeveil.shared.privacy.report import chart, sections, words
from edgeveil.shared.privacy.report.page import Page, Section, Sheet, Tile

Report = Mapping[str, Any]


def page(report: Report) -> str:
    """HTML of a report made by coordinator.reports.privacy.report."""
    guarantee, planned = report["guarantee"], report["guarantee"]["epsilon_planned"]
    most = guarantee["epsilon_at_most"]
    unit, trust = report["privacy_unit"], report["trust_model"]
    return Page(
        title="Privacy report of a training run",
        subtitle=f"{report['run']} · {report['identity']['time']}",
        headline=_headline(report),
        paragraphs=(guarantee["in_words"],),
        used=min(1.0, most / planned),
        tiles=(
            Tile("ε at most", f"{most:.3g}", f"planned {planned:g}, at δ {guarantee['delta']:g}"),
            Tile("ε, median device", f"{guarantee['epsilon_median']:.3g}", "of this run alone"),
            Tile("devices asked", str(report["agents"]["asked"]), "over all rounds"),
            Tile("refusals", str(sum(report["refusals"].values())), "the devices decide"),
        ),
        curve=_curve(guarantee) if guarantee["curve"] else None,
        sections=(
            sections.gaps(report["not_covered"]),
            _limits(report),
            sections.protected(unit, rows=(("Over all devices", unit["across_agents"]),)),
            sections.who_sees_what(trust, trust["secure_aggregation"]["protocol"]),
        ),
        details=(
            _guarantee(guarantee),
            _devices(report),
            _refusals(report["refusals"]),
            _mechanism(report["mechanism"]),
            _accounting(report["accounting"]),
            _rounds(report["rounds"]),
            _identity(report["identity"]),
            _utility(report["utility"]),
        ),
        data=report,
    ).render()


def _headline(report: Report) -> str:
    guarantee = report["guarantee"]
    most, planned = guarantee["epsilon_at_most"], guarantee["epsilon_planned"]
    if most:
        return (
            f"This run has cost any one device at most ε {most:.3g} of the {planned:g} it planned for; "
            f"protection: {words.tier(most)}."
        )
    if report["refusals"]:
        return "Nothing has been spent: the devices refused what this run asked for."
    return "Nothing has been spent yet."


def _curve(guarantee: Report) -> chart.Curve:
    planned = guarantee["epsilon_planned"]
    points = [(p["attempt"], 1 - p["epsilon_at_most"] / planned) for p in guarantee["curve"]]
    return chart.Curve(
        "Planned ε left after each attempt",
        "For the device that was asked most often. Repeated attempts count as charged, although an "
        "update that never left a device may be sent again at no cost.",
        points,
        across="attempts",
    )


def _limits(report: Report) -> Section:
    return Section(
        "What this page can and cannot know",
        "Each device keeps its own account over all runs and coordinators, and decides by it. The "
        "figures here are the most that this one run can have charged. What a device has spent in all "
        "stands beside them where its owner lets it be told; that is the device's signed word, which "
        "this page cannot check. Owners see their own figure with: agent budget.",
        rows=(("Enforced by", report["trust_model"]["enforced_by"]),),
    )


def _guarantee(g: Report) -> Section:
    sums = g["sums_only"]
    shown = sections.figure(sums["epsilon"], ".4g")
    return sections.listed(
        "Guarantee",
        ("ε planned", f"{g['epsilon_planned']:g}, spare rounds included"),
        ("ε at most, any device", f"{g['epsilon_at_most']:.6g}"),
        ("Left of the plan", f"{g['epsilon_left']:.6g}, for {g['rounds_left']:,} rounds to come"),
        ("Best order, µ", f"{g['best_order'] or '–'}, {sections.figure(g['gaussian_mu'])}"),
        ("ε if asked every time", f"{g['epsilon_if_always_asked']:.6g}"),
        (
            "ε attested by devices",
            f"{_attested(g['epsilon_attested'])}: {g['epsilon_attested_note']}",
        ),
        ("δ", f"{g['delta']:g}: {g['delta_why']}"),
        ("ε towards sums only", f"{shown}: {sums['note']}"),
    )


def _attested(told: Report) -> str:
    if told["max"] is None:
        return "no device tells it"
    near = ", ".join(told["near_budget"]) or "none"
    over = ", ".join(told["at_or_over_budget"]) or "none"
    return (
        f"at most {told['max']:.6g}, median {told['median']:.6g}; near the budget: {near}; at or over "
        f"it: {over}; {told['agents_that_do_not_tell']} devices do not tell"
    )


def _devices(report: Report) -> Section:
    refused = report["agents"]["refused_for_budget"]
    told = report["guarantee"]["epsilon_attested"]["by_agent"]
    rows = [
        (name, f"{value:.4f}", *_told(told.get(name)), str(refused.get(name, 0)))
        for name, value in report["guarantee"]["epsilon_at_most_by_agent"].items()
    ]
    columns = (
        "device",
        ">ε of this run at most",
        ">ε attested, all runs",
        ">of its limit",
        ">refused for its budget",
    )
    return Section("Devices", sheet=Sheet(columns, rows))


def _told(budget: Report | None) -> tuple[str, str]:
    if budget is None:
        return "not told", "–"
    again = f", counted anew {budget['resets']} times" if budget["resets"] else ""
    spent = f"{budget['epsilon']:.4f} at δ {budget['delta']:g}{again}"
    return spent, f"{budget['epsilon_limit']:g}"


def _refusals(found: Report) -> Section:
    rows = [(code, str(count)) for code, count in found.items()]
    intro = "By code; the reasons stay on the devices." if rows else "Nobody refused."
    return Section("Refusals", intro, sheet=Sheet(("code", ">times"), rows))


def _mechanism(m: Report) -> Section:
    return sections.listed(
        "Mechanism",
        ("What", m["name"]),
        ("σ, q, steps a round", f"{m['noise_multiplier']:g}, {m['sample_rate']:g}, {m['steps_per_round']}"),
        ("Clip norm", f"{m['clip_norm']:g}"),
        ("Optimiser", f"{m['optimizer']}, learning rate {m['learning_rate']:g}"),
        ("Rounds", f"{m['rounds_planned']} and {m['spare_rounds']} spare"),
        ("Sampling", m["sampling"]),
        ("Gradients", m["gradient_mode"]),
        ("Noise", f"{m['noise_generator']}; {m['arithmetic']}"),
        ("Empty draws", m["empty_draws"]),
    )  # fmt: skip


def _accounting(a: Report) -> Section:
    fits = "within" if a["within_epsilon_planned"] else "ABOVE"
    return sections.accounted(
        a,
        ("Plan and spare rounds", f"ε {a['epsilon_of_plan_and_spare_rounds']:.6g}, {fits} plan"),
        ("Attempts", f"{a['attempts']}, of which {a['attempts_aborted']} aborted"),
        ("Aborted attempts count", a["aborted_attempts_counted"]),
    )


def _rounds(rounds: list[Report]) -> Section:
    rows = [
        (
            str(r["round"]),
            str(r["attempt"]),
            r["outcome"] + (f" ({r['reason']})" if r["reason"] else ""),
            str(r["asked"]),
            str(r["in_the_sum"]),
            str(r["refused"]),
        )
        for r in rounds
    ]
    columns = (">round", ">attempt", "outcome", ">asked", ">in the sum", ">refused")
    return Section("Cohorts", sheet=Sheet(columns, rows))


def _identity(i: Report) -> Section:
    return sections.listed(
        "Identity",
        (
            "Task",
            f"{i['task']['id']} {i['task']['version']} ({i['task']['hash'] or 'hash not kept'})",
        ),
        ("Plan (SHA-256)", i["plan_sha256"]),
        ("Proposal to the devices (SHA-256)", i["proposal_sha256"]),
        ("Software", i["software"]),
    )


def _utility(u: Report) -> Section:
    scores = ", ".join(f"{name} {value:.4g}" for name, value in u["scores"].items())
    return sections.listed(
        "Utility beside privacy",
        ("Scores", f"{scores or 'not evaluated'} (on {u['scores_on']})"),
        ("Metrics of devices", u["metrics_mode"]),
        ("In a sentence", u["sentence"]),
    )
