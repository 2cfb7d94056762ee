"""The privacy report of one data set as a page that its owner can read."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from edgeveil.agent.home.advice import ADVICE
from edgeveil.agent.reports.words import Words
from edgeveil.shared.base.errors import RefusalCode
from edgeveil.shared.pages.markup import Tile
from edgeveil.shared.pages.words import Language
from edgeveil.shared.privacy.report import chart, sections
from edgeveil.shared.privacy.report import words as privacy_words
from edgeveil.shared.privacy.report.page import Page, Section, Sheet
from edgeveil.shared.privacy.report.two_figures import TwoFigures
from edgeveil.shared.privacy.unlimited import UNLIMITED, from_json, shown

Report = Mapping[str, Any]


def page(report: Report, language: Language = "en") -> str:
    """HTML of a report made by agent.reports.report."""
    words, guarantee = Words(language), report["guarantee"]
    limit, identity = report["epsilon_limit"], report["identity"]
    used = share_of(report)
    return Page(
        language=language,
        title=words("report_title", dataset=report["dataset"]),
        subtitle=words("report_of", agent=identity["agent"], time=identity["time"]),
        headline=_headline(report, words),
        paragraphs=_paragraphs(report, words),
        used=used,
        two=_two(report),
        tiles=(
            Tile(
                words("spent"),
                _shown(report["epsilon_spent"], words, ".3g"),
                words("of_limit", limit=f"{limit:g}", delta=f"{report['delta']:g}"),
            ),
            *_sums_tile(report, words),
            Tile(words("share"), f"{used:.1%}", words("share_note")),
            Tile(words("rounds"), str(report["rounds"]), words("rounds_note")),
            Tile(
                words("rounds_left"),
                sections.figure(guarantee["rounds_left"], ","),
                words("at_newest_plan"),
            ),
        ),
        curve=_curve(report, words) if guarantee["curve"] and guarantee["limited"] else None,
        sections=(
            sections.gaps(report["not_covered"], language, words.again),
            sections.protected(report["privacy_unit"], language, words("promise")),
            sections.who_sees_what(report["trust_model"], language, words("required")),
        ),
        details=tuple(part(report, words) for part in DETAILS),
        data=report,
    ).render()


def _two(report: Report) -> TwoFigures | None:
    """Where noise is, or may be, in shares."""
    sums = report["guarantee"].get("sums")
    if sums is None:
        return None
    return TwoFigures(
        sums=from_json(sums["epsilon_sum"]),
        sums_limit=from_json(sums["epsilon_sum_limit"]),
        alone=from_json(sums["epsilon_alone"]),
        alone_limit=report["epsilon_limit"],
        honest=sums["honest"],
    )


def _sums_tile(report: Report, words: Words) -> tuple[Tile, ...]:
    two = _two(report)
    return () if two is None else (sums_tile(two, report["delta"], words),)


def sums_tile(two: TwoFigures, delta: float, words: Words) -> Tile:
    """Of what sums show, beside the tile of ε spent."""
    value = shown(two.sums, ".3g", words("not_limited"))
    if two.sums_limit == UNLIMITED:
        return Tile(words("sums"), value)
    limit = words("of_limit", limit=f"{two.sums_limit:g}", delta=f"{delta:g}")
    return Tile(words("sums"), value, limit)


def share_of(report: Report) -> float:
    """ε spent of the ε that is allowed, 0..1."""
    spent, limit = report["epsilon_spent"], report["epsilon_limit"]
    if spent is None:
        return 1.0
    return min(1.0, float(spent / limit)) if limit > 0 else 1.0


def _shown(value: float | None, words: Words, form: str) -> str:
    """An ε of the report; null is one that nothing limits."""
    return shown(value, form, words("not_limited"))


def _headline(report: Report, words: Words) -> str:
    if report["rounds"] == 0:
        return words("nothing_yet")
    if not report["limited"]:
        return words("headline_unlimited", n=report["rounds_without_noise"])
    share, guarantee = f"{share_of(report):.0%}", report["guarantee"]
    everything = guarantee["epsilon_since_opening"]
    if report["integrity"]["resets"]:
        tier = _tier(everything, words)
        return words("headline_anew", share=share, total=f"{everything:.3g}", tier=tier)
    said = words("headline", share=share, tier=_tier(report["epsilon_spent"], words))
    return f"{said} {words('used_up')}" if guarantee["rounds_left"] == 0 else said


def _tier(value: float, words: Words) -> str:
    return privacy_words.tier(value, privacy_words.Words(words.language))


def _paragraphs(report: Report, words: Words) -> tuple[str, ...]:
    meaning = privacy_words.Words(words.language).again(report["guarantee"]["in_words"])
    refused = sum(row["count"] for row in report["integrity"].get("refusals", {}).values())
    if not refused:
        return (meaning,)
    often = words("said_once") if refused == 1 else words("said_often", n=f"{refused:,}")
    return meaning, words("refused_often", often=often)


def _curve(report: Report, words: Words) -> chart.Curve:
    left = report["guarantee"]["rounds_left"]
    points = _points(report)
    end = None if left is None else points[-1][0] + left
    curve = chart.Curve(words("curve"), words("curve_note"), points, end, words("charged_rounds"))
    if not left:
        return curve
    rounds = words("one_left") if left == 1 else words("many_left", n=f"{left:,}")
    told = words("ahead_drawn", what=rounds) if curve.ahead else words("ahead_far", what=rounds)
    return replace(curve, caption=f"{curve.caption} {told}")


def _points(report: Report) -> list[tuple[int, float]]:
    """(charged round, share of ε left after it); the tighter figure where the report has it for every round."""
    curve, after = report["guarantee"]["curve"], report["after_rounds"]
    limit = report["epsilon_limit"] or 1.0
    spent = [row["epsilon_spent"] for row in after]
    if len(spent) != len(curve):
        spent = [point["epsilon"] for point in curve]
    return [(p["round"], max(0.0, 1 - one / limit)) for p, one in zip(curve, spent, strict=True)]


def _guarantee(report: Report, words: Words) -> Section:
    g = report["guarantee"]
    prv = words("prv_missing", note=words.again(g["epsilon_prv_note"]))
    left = f"{g['epsilon_left']:.6g}"
    spent, enforced, ever = (
        _shown(g[name], words, ".6g")
        for name in ("epsilon_spent", "epsilon_enforced", "epsilon_since_opening")
    )
    return sections.listed(
        words("guarantee"),
        (
            words("spent"),
            words("best_order", value=spent, order=g["best_order"] or "–"),
        ),
        (
            words("enforced"),
            words("at_order", value=enforced, order=g["alpha"] or "–"),
        ),
        (words("prv"), prv if g["epsilon_prv"] is None else f"{g['epsilon_prv']:.6g}"),
        ("δ", f"{g['delta']:g}: {words.again(g['delta_why'])}"),
        (words("mu"), sections.figure(g["gaussian_mu"])),
        (words("budget_row"), words("budget_left", limit=f"{g['epsilon_limit']:g}", left=left)),
        *_sums(report, words),
        (words("since_opening"), words("resets_or_not", value=ever)),
        (
            words("divergence"),
            words("divergence_of", spent=f"{g['rdp_spent']:.9g}", cap=f"{g['cap'] or 0:.9g}"),
        ),
    )


def _sums(report: Report, words: Words) -> tuple[tuple[str, str], ...]:
    """The second figure, where noise is in shares."""
    two = _two(report)
    return () if two is None else ((words("sums"), two.sentences(words.language, ".6g")[0]),)


def _segments(report: Report, words: Words) -> Section:
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
    named = words.headings(
        ">steps", ">rounds", ">steps_a_round", ">clip_norm", "optimiser", ">alone"
    )
    return Section(
        words("segments"), words("segments_note"), sheet=Sheet([">σ", ">q", *named], rows)
    )


def _without_noise(plain: Report, words: Words) -> tuple[tuple[str, str], ...]:
    """A row about the rounds that no figure bounds, where there were any."""
    if not plain["rounds"]:
        return ()
    bounds = ", ".join(f"{c:g}" for c in plain["clip_norms"])
    how = "; ".join(plain["optimizers"])
    said = words("plain_rounds", n=plain["rounds"], steps=plain["steps"], how=how, bounds=bounds)
    return ((words("without_noise"), said),)


def _whole(mechanism: Report, words: Words) -> tuple[tuple[str, str], ...]:
    """A row about the rounds whose noise hid all records together, where there were any."""
    count = mechanism.get("whole_updates")
    return ((words("whole_updates"), words("whole_rounds", n=count)),) if count else ()


def _mechanism(report: Report, words: Words) -> Section:
    m, again = report["mechanism"], words.again
    modes = ", ".join(
        words("mode_rounds", mode=name, n=count) for name, count in m["gradient_modes"].items()
    )
    tested = [again(m[key]) for key in ("sampling_self_test", "noise_self_test")]
    return sections.listed(
        words("mechanism"),
        (words("what"), again(m["name"])),
        *_without_noise(m["without_noise"], words),
        *_whole(m, words),
        (words("gradients"), modes or "–"),
        (
            words("sampling"),
            words("tested", what=", ".join(m["sampling"]) or "–", how=tested[0]),
        ),
        (
            words("noise_row"),
            words("tested", what=", ".join(m["noise_generator"]) or "–", how=tested[1]),
        ),
        (words("arithmetic"), again(m["arithmetic"])),
        (words("empty_draws"), again(m["empty_draws"])),
        (words("divided_by"), again(m["normaliser"])),
    )


def _audit(report: Report, words: Words) -> Section:
    """How near an attack on this installation comes to what it claims; a report of an older build has none."""
    found = report["mechanism"].get("audit")
    if found is None:
        return Section(words("audit"), words("never_audited"))
    rows = []
    for one in found["near"]:
        least, most = one["epsilon_lower_bound"], one["epsilon_gaussian"]
        proven = "∞" if least is None else f"{least:.3g}"
        share = "–" if least is None else f"{least / most:.0%}"
        told = "; ".join(one["why"]) or words("no_alarm")
        rows.append((f"{one['epsilon_claimed']:g}", proven, f"{most:.3g}", share, told))
    said = words(
        "audit_note" if found["passed"] else "audit_failed",
        n=f"{found['canaries']:,}",
        confidence=f"{found['confidence']:.0%}",
        task=found["task"],
        time=found["time"],
        software=found["software"],
    )
    columns = words.headings(">claimed", ">proven", ">perfect_attack", ">share_found", "alarms")
    return Section(words("audit"), said, sheet=Sheet(columns, rows), warning=not found["passed"])


def _accounting(report: Report, words: Words) -> Section:
    a = report["accounting"]
    check = a["cross_check"]
    told = words("not_computed")
    if check is not None:
        passed = words("passed") if check["passed"] else words("failed")
        told = f"{check['epsilon_prv']:.6g}, {words.again(check['rule'])}: {passed}"
    return sections.accounted(
        a,
        words.language,
        (words("composition"), words.again(a["composition"])),
        (words("cross_check"), told),
        (words("rounds"), str(a["rounds_charged"])),
        (words("delivered"), str(a["delivered"])),
        (words("fate_unknown"), str(a["fate_unknown"])),
        (words("never_finished"), str(a["never_finished"])),
        (words("refunded"), str(a["refunded"])),
    )


def _integrity(report: Report, words: Words) -> Section:
    i, none = report["integrity"], words("none")
    return sections.listed(
        words("integrity"),
        (words("ledger"), words("n_records", n=i["ledger_records"])),
        (words("head_hash"), i["ledger_head"] or "–"),
        (words("head_signature"), i["ledger_signature"] or "–"),
        (words("policy_changes"), ", ".join(c["note"] for c in i["policy_changes"]) or none),
        (words("resets"), str(len(i["resets"]))),
        (words("confirmed"), str(i["heads_confirmed_by_coordinators"])),
        (words("restored"), words.again(i["rollback"])),
        (words("previous"), i.get("previous_report_sha256") or none),
        intro=words("integrity_note"),
    )


def _refusals(report: Report, words: Words) -> Section:
    refusals = report["integrity"].get("refusals", {})
    rows = [
        (code, str(r["count"]), r["last"], ADVICE[RefusalCode(code)].command)
        for code, r in sorted(refusals.items())
    ]
    intro = words("refused_note") if rows else words("never_refused")
    columns = words.headings("code", ">count", "latest", "helps")
    return Section(words("refusals"), intro, sheet=Sheet(columns, rows))


def _after_rounds(report: Report, words: Words) -> Section:
    newest = report["after_rounds"][::-1]
    kept = [name for name in ("epsilon_spent", "epsilon_sum") if newest and name in newest[0]]
    rows = [
        (
            row["run"],
            str(row["round"]),
            str(row["attempt"]),
            *(_shown(row[name], words, ".4f") for name in kept),
        )
        for row in newest
    ]
    named = [">epsilon_after", ">sums_after"][: len(kept)]
    columns = words.headings("run", ">round", ">attempt", *named)
    return Section(words("after_rounds"), words("newest_first"), sheet=Sheet(columns, rows))


def _identity(report: Report, words: Words) -> Section:
    i, none = report["identity"], words("none_yet")
    tasks = "; ".join(f"{t['id']} {t['version']} ({t['hash'][:16]}…)" for t in i["tasks"])
    return sections.listed(
        words("identity"),
        (words("agent_id"), str(i["agent"])),
        (words("public_key"), i["public_key"]),
        (words("tasks"), tasks or none),
        (words("coordinators"), ", ".join(i["coordinators"]) or none),
        (words("runs"), str(i["runs"])),
        (words("trained_by"), "; ".join(i["software"])),
        (words("reported_by"), i["reported_by"]),
    )


DETAILS = (
    _guarantee,
    _segments,
    _mechanism,
    _audit,
    _accounting,
    _integrity,
    _refusals,
    _after_rounds,
    _identity,
)
