"""The privacy report of one data set as a page that its owner can read."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from edgeveil.agent.home.advice import ADVICE
from edgeveil.shared.base.errors import RefusalCode
from edgeveil.shared.privacy.report import chart, sections, words
from edgeveil.shared.privacy.report.page import Page, Section, Sheet, Tile

Report = Mapping[str, Any]

PROTECTED = (
    "The promise is about single records. Noise is added on this device before anything leaves it, "
    "so that no answer depends noticeably on any one of them."
)


def page(report: Report) -> str:
    """HTML of a report made by agent.reports.report."""
    guarantee = report["guarantee"]
    spent, limit, used = report["epsilon_spent"], report["epsilon_limit"], report["share_spent"]
    return Page(
        title=f"Privacy report of the data set “{report['dataset']}”",
        subtitle=f"Agent {report['identity']['agent']} · {report['identity']['time']}",
        headline=_headline(report),
        paragraphs=_paragraphs(report),
        used=used,
        tiles=(
            Tile("ε spent", f"{spent:.3g}", f"of at most {limit:g}, at δ {report['delta']:g}"),
            Tile("budget used", f"{used:.1%}", "charged before training, never given back"),
            Tile("rounds charged", str(report["rounds"]), "over all tasks and coordinators"),
            Tile(
                "rounds left", sections.figure(guarantee["rounds_left"], ","), "at the newest plan"
            ),
        ),
        curve=_curve(report) if guarantee["curve"] else None,
        sections=(
            sections.gaps(report["not_covered"]),
            sections.protected(report["privacy_unit"], PROTECTED),
            sections.who_sees_what(report["trust_model"], "required"),
        ),
        details=(
            _guarantee(report),
            _segments(report),
            _mechanism(report["mechanism"]),
            _accounting(report["accounting"]),
            _integrity(report),
            _refusals(report["integrity"].get("refusals", {})),
            _after_rounds(report),
            _identity(report["identity"]),
        ),
        data=report,
    ).render()


def _headline(report: Report) -> str:
    if report["rounds"] == 0:
        return "Nothing has been spent yet."
    if report["integrity"]["resets"]:
        total = report["guarantee"]["epsilon_since_opening"]
        return (
            f"{report['share_spent']:.0%} of the budget is used since the owner began to count anew; in "
            f"all it is ε {total:.3g}. Protection: {words.tier(total)}."
        )
    share, tier = report["share_spent"], words.tier(report["epsilon_spent"])
    tail = (
        "It is used up: this device trains no more."
        if report["guarantee"]["rounds_left"] == 0
        else ""
    )
    return f"{share:.0%} of this data set's privacy budget is used; protection so far: {tier}. {tail}".strip()


def _paragraphs(report: Report) -> tuple[str, ...]:
    refused = sum(row["count"] for row in report["integrity"].get("refusals", {}).values())
    if not refused:
        return (report["guarantee"]["in_words"],)
    often = "once" if refused == 1 else f"{refused:,} times"
    told = f"This device refused {often} to take part in a round; the reasons stand below."
    return report["guarantee"]["in_words"], told


def _curve(report: Report) -> chart.Curve:
    guarantee = report["guarantee"]
    points = [(p["round"], 1 - p["share_spent"]) for p in guarantee["curve"]]
    left = guarantee["rounds_left"]
    end = None if left is None else points[-1][0] + left
    caption = "Each round takes its share before training starts; nothing is ever given back."
    curve = chart.Curve("Budget left after each round", caption, points, end)
    if not left:
        return curve
    rounds = f"the {left:,} {'round' if left == 1 else 'rounds'} left at the newest plan."
    told = " The dashed line shows " if curve.ahead else " Not drawn: "
    return replace(curve, caption=caption + told + rounds)


def _guarantee(report: Report) -> Section:
    g = report["guarantee"]
    prv = g["epsilon_prv_note"] if g["epsilon_prv"] is None else f"{g['epsilon_prv']:.6g}"
    return sections.listed(
        "Guarantee",
        ("ε spent", f"{g['epsilon_spent']:.6g} (best order {g['best_order'] or '–'})"),
        ("ε as enforced", f"{g['epsilon_enforced']:.6g} (order α {g['alpha'] or '–'})"),
        ("ε by PRV, not enforced", prv),
        ("δ", f"{g['delta']:g}: {g['delta_why']}"),
        ("µ (Gaussian privacy)", sections.figure(g["gaussian_mu"])),
        ("Budget", f"{g['epsilon_limit']:g}, of which {g['epsilon_left']:.6g} is left"),
        ("ε since the ledger was opened", f"{g['epsilon_since_opening']:.6g}, resets or not"),
        ("Rényi divergence", f"{g['rdp_spent']:.9g} of {g['cap'] or 0:.9g} at order α"),
    )


def _segments(report: Report) -> Section:
    rows = [
        (
            f"{s['noise_multiplier']:g}",
            f"{s['sample_rate']:g}",
            str(s["steps"]),
            str(s["rounds"]),
            ", ".join(str(steps) for steps in s["steps_per_round"]),
            ", ".join(f"{c:g}" for c in s["clip_norms"]),
            "; ".join(s["optimizers"]),
            f"{s['epsilon_alone']:.4g}",
        )
        for s in report["mechanism"]["segments"]
    ]
    columns = (
        ">σ",
        ">q",
        ">steps",
        ">rounds",
        ">steps a round",
        ">clip norm",
        "optimiser",
        ">ε alone",
    )
    intro = "Rounds of equal noise and sampling, since the ledger was opened or reset. The last column does not add up."
    return Section("Segments", intro, sheet=Sheet(columns, rows))


def _mechanism(m: Report) -> Section:
    modes = ", ".join(f"{name} ({count} rounds)" for name, count in m["gradient_modes"].items())
    return sections.listed(
        "Mechanism",
        ("What", m["name"]),
        ("Gradients", modes or "–"),
        ("Sampling", f"{', '.join(m['sampling']) or '–'}; tested: {m['sampling_self_test']}"),
        ("Noise", f"{', '.join(m['noise_generator']) or '–'}; tested: {m['noise_self_test']}"),
        ("Arithmetic", m["arithmetic"]),
        ("Empty draws", m["empty_draws"]),
        ("Divided by", m["normaliser"]),
    )


def _accounting(a: Report) -> Section:
    check = a["cross_check"]
    told = "not computed" if check is None else f"{check['epsilon_prv']:.6g}, {check['rule']}: "
    if check is not None:
        told += "passed" if check["passed"] else "FAILED"
    return sections.accounted(
        a,
        ("Cross-check (PRV)", told),
        ("Rounds charged", str(a["rounds_charged"])),
        ("… whose update was delivered", str(a["delivered"])),
        ("… whose fate is unknown", str(a["fate_unknown"])),
        ("… that never finished", str(a["never_finished"])),
        ("Refunded", str(a["refunded"])),
    )


def _integrity(report: Report) -> Section:
    i = report["integrity"]
    return sections.listed(
        "Integrity",
        ("Ledger", f"{i['ledger_records']} records"),
        ("Head (SHA-256)", i["ledger_head"] or "–"),
        ("Signature of the head", i["ledger_signature"] or "–"),
        ("Policy changes", ", ".join(c["note"] for c in i["policy_changes"]) or "none"),
        ("Counted anew (resets)", str(len(i["resets"]))),
        ("Heads confirmed by coordinators", str(i["heads_confirmed_by_coordinators"])),
        ("A restored ledger is", i["rollback"]),
        ("Previous report (SHA-256)", i.get("previous_report_sha256") or "none"),
        intro="agent verify checks this report and the ledger behind it.",
    )


def _refusals(refusals: Report) -> Section:
    rows = [
        (code, str(r["count"]), r["last"], ADVICE[RefusalCode(code)].command)
        for code, r in sorted(refusals.items())
    ]
    intro = (
        "How often this device said no, and to what last." if rows else "This device never refused."
    )
    return Section("Refusals", intro, sheet=Sheet(("code", ">times", "last", "what helps"), rows))


def _after_rounds(report: Report) -> Section:
    rows = [
        (row["run"], str(row["round"]), str(row["attempt"]), f"{row['epsilon_spent']:.4f}")
        for row in report["after_rounds"][::-1]
    ]
    sheet = Sheet(("run", ">round", ">attempt", ">ε after it"), rows)
    return Section("ε after every round", "The newest 200 at most, newest first.", sheet=sheet)


def _identity(i: Report) -> Section:
    tasks = "; ".join(f"{t['id']} {t['version']} ({t['hash'][:16]}…)" for t in i["tasks"])
    return sections.listed(
        "Identity",
        ("Agent", str(i["agent"])),
        ("Public key (Ed25519)", i["public_key"]),
        ("Tasks", tasks or "none yet"),
        ("Coordinators", ", ".join(i["coordinators"]) or "none yet"),
        ("Runs", str(i["runs"])),
        ("Software that trained", "; ".join(i["software"])),
        ("Reported by", i["reported_by"]),
    )
