"""The device's own page: from its ledger, its journal and its refusals. Sizes, never contents."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from edgeveil.agent.home.advice import ADVICE
from edgeveil.agent.home.data import InUse
from edgeveil.agent.home.home import Pinned
from edgeveil.agent.home.policy import Policy
from edgeveil.agent.home.records.usable import LastLook, last_look
from edgeveil.agent.home.refusals import read_refusals
from edgeveil.agent.ledger.budget import NOISED, Budget, budget_of, find_ledger, unspent
from edgeveil.agent.reports.report_page import sums_tile
from edgeveil.agent.reports.words import Words
from edgeveil.shared.base.errors import RefusalCode
from edgeveil.shared.events.log import Event, EventLine
from edgeveil.shared.events.search import newest
from edgeveil.shared.pages.charts import DASHES, Line, line_chart, line_key, meter
from edgeveil.shared.pages.document import live_document
from edgeveil.shared.pages.markup import Tile, facts, figure, folded, lead, section, table
from edgeveil.shared.pages.text import escape, human_bytes, utc
from edgeveil.shared.pages.words import Language
from edgeveil.shared.privacy.ledger.records import Kind
from edgeveil.shared.privacy.report import words as privacy_words
from edgeveil.shared.privacy.unlimited import shown

JOURNAL = "events.jsonl"
REMEMBERED = 2000  # lines of the journal
SHOWN = 25  # rows of a table
SHOWN_LABELS, OPEN_LABELS = 200, 12  # classes with the most records; more than so many are folded


@dataclass(frozen=True)
class Own:
    """Everything the page shows. `reserves`: bodies of ledger records, newest first."""

    pinned: Pinned
    budget: Budget
    reserves: Sequence[Mapping[str, Any]]
    journal: Sequence[EventLine]
    refusals: Mapping[str, Mapping[str, Any]]
    look: LastLook | None  # at the records, by the newest start
    in_use: InUse | None = None
    paused: bool = False


def own_state(path: Path, dataset: str, in_use: InUse | None = None) -> Own:
    """Raises as agent.ledger.budget.read_budget."""
    home, name, found = find_ledger(path, dataset)
    reserves: list[Mapping[str, Any]] = []
    if found is not None:
        kinds = (*NOISED, Kind.UNLIMITED)
        wanted = (body for body in found.bodies() if body["kind"] in kinds)
        reserves = list(islice(wanted, SHOWN))
        budget = budget_of(name, found)
    else:
        budget = unspent(name, Policy.load(home.policy_path))
    return Own(
        pinned=home.pinned(),
        budget=budget,
        reserves=reserves,
        journal=newest(path / JOURNAL, REMEMBERED),
        refusals=read_refusals(path),
        look=last_look(path, name),
        in_use=in_use,
        paused=home.paused,
    )


def page(own: Own, language: Language) -> str:
    words = Words(language)
    title = words("title", name=own.pinned.name)
    parts = (_budget, _data, _model, _trained, _sent, _refusals, _identity)
    head = f"<small>Edgeveil</small><h1>{escape(title)}</h1><p>{escape(words('intro'))}</p>"
    return live_document(words, title, head, "".join(part(own, words) for part in parts))


def _budget(own: Own, words: Words) -> str:
    budget, two = own.budget, own.budget.two
    share = f"{budget.epsilon_share:.1%}"
    limit, delta = f"{budget.epsilon_limit:g}", f"{budget.delta:g}"
    left = "–" if budget.rounds_left is None else f"{budget.rounds_left:,}"
    usable = "–" if own.in_use is None else f"{own.in_use.usable:,}"
    skipped = "" if own.in_use is None else words("left_out_n", n=f"{own.in_use.left_out:,}")
    tiles = [
        Tile(words("spent"), shown(budget.epsilon_spent, ".3g", words("not_limited")), words("of_limit", limit=limit, delta=delta)),
        *([] if two is None else [sums_tile(two, budget.delta, words)]),
        Tile(words("rounds_left"), left, words("at_newest_plan")),
        Tile(words("rounds"), f"{budget.rounds:,}", words("rounds_note")),
        Tile(words("usable"), usable, skipped),
    ]  # fmt: skip
    bar = (
        meter(budget.epsilon_share, words("meter", share=share))
        if two is None
        else two.bar(words.language)
    )
    pause = words("go_on") if own.paused else words("how_to_pause")
    values: dict[str, object] = {
        words("unit"): words("unit_value", unit=budget.unit),
        words("resets"): budget.resets,
    }
    html = (
        lead(_sentence(own, words), tiles, below=bar, curve=_curve(own, words))
        + facts(values)
        + f'<p class="note">{escape(words("spent_note"))} {escape(pause)}</p>'
    )
    return section("budget", words("privacy"), html)


def _sentence(own: Own, words: Words) -> str:
    budget = own.budget
    if budget.rounds == 0:
        said = words("nothing_yet")
    elif not budget.limited:
        said = words("headline_unlimited", n=budget.rounds_without_noise)
    else:
        tier = privacy_words.tier(budget.epsilon_spent, privacy_words.Words(words.language))
        said = words("headline", share=f"{budget.epsilon_share:.0%}", tier=tier)
    if own.paused:
        return f"{words('paused')} {said}"
    return f"{said} {words('used_up')}" if budget.rounds_left == 0 else said


def _data(own: Own, words: Words) -> str:
    found, look = own.in_use, own.look
    seen = "" if look is None else words("usable_value", usable=look.usable, found=look.found)
    if look is not None and look.refused:
        return section(
            "data",
            words("data"),
            facts({words("usable"): seen}),
            words("not_ready", why=look.refused),
        )
    if found is None:
        return section(
            "data", words("data"), facts({words("usable"): seen} if seen else {}), words("not_read")
        )
    values: dict[str, object] = {
        words("folder"): found.path,
        words("records_are"): f"{found.kind}, {' × '.join(map(str, found.shape))}",
        words("usable"): f"{found.usable:,}",
        words("left_out"): f"{found.left_out:,}",
    } | ({} if look is None else {words("usable_min"): f"{look.usable_min:.0%}"})
    shown = sorted(found.labels.items(), key=lambda item: -item[1])[:SHOWN_LABELS]
    rows = [[label, f"{count:,}"] for label, count in shown]
    labels = table(words.headings("label", ">usable"), rows, label=words("labels"))
    known = len(found.labels)
    whole = len(rows) == known
    title = words("labels_n", n=known) if whole else words("labels_cut", n=known, shown=len(rows))
    html = facts(values) + folded(title, labels, shown=len(rows) <= OPEN_LABELS)
    return section("data", words("data"), html, words("data_note"))


def _curve(own: Own, words: Words) -> str:
    rows, limit = own.budget.after_rounds, own.budget.epsilon_limit
    if not rows or not own.budget.limited:
        return ""
    first = own.budget.rounds - len(rows) + 1
    xs = [float(first + place) for place in range(len(rows))]
    spent = Line(words("spent"), xs, [float(row["epsilon_spent"]) for row in rows])
    sums = (
        [Line(words("sums"), xs, [float(row["epsilon_sum"]) for row in rows], "two", DASHES[2])]
        if "epsilon_sum" in rows[0]
        else []
    )
    ceiling = Line(words("limit"), [xs[0], xs[-1]], [limit, limit], "limit", DASHES[1])
    label = f"{words('chart')}: {spent.ys[-1]:.3f}; {words('limit')} {limit:g}"
    lines = [spent, *sums, ceiling]
    drawn = line_chart(lines, label=label, across=words("charge"), low=0.0, high=limit)
    return figure(words("chart"), drawn + line_key(lines))


def _model(own: Own, words: Words) -> str:
    if not own.reserves:
        return section("model", words("model"), "", words("no_round"))
    last = own.reserves[0]
    values: dict[str, object] = {
        words("task"): f"{last['task_id']} {last['task_version']}",
        words("run"): last["run_id"],
        words("round"): last["round"],
        words("version"): last["model_hash"],
    }
    return section("model", words("model"), facts(values))


def _trained(own: Own, words: Words) -> str:
    if not own.reserves:
        return ""
    rows = [
        [
            utc(body["time"]),
            body["run_id"],
            body["round"],
            body["attempt"],
            body["steps_planned"],
            *_noise(body, words),
        ]
        for body in own.reserves
    ]
    headings = words.headings("time", "run", ">round", ">attempt", ">steps", ">noise", ">rate")
    return section("trained", words("trained"), table(headings, rows, label=words("trained")))


def _noise(body: Mapping[str, Any], words: Words) -> tuple[str, str]:
    """σ and q of a round, if it had noise."""
    if body["kind"] == Kind.UNLIMITED:
        return words("none"), "–"
    return f"{float.fromhex(body['sigma']):.4g}", f"{float.fromhex(body['q']):.4g}"


def _sent(own: Own, words: Words) -> str:
    sent = [line for line in own.journal if line.event == Event.REPLY_SEND]
    rows = [
        [utc(line.ts), line.run, line.round, words(f"stage_{line.stage}"), human_bytes(line.size)]
        for line in reversed(sent[-SHOWN:])
    ]
    total = {words("total"): human_bytes(sum(line.size for line in sent))}
    headings = words.headings("time", "run", ">round", "message", ">size")
    html = facts(total) + (table(headings, rows, label=words("sent")) if rows else "")
    return section("sent", words("sent"), html, words("sent_note"))


def _refusals(own: Own, words: Words) -> str:
    if not own.refusals:
        return section("refusals", words("refusals"), "", words("none_refused"))
    rows = [
        [code, entry["count"], utc(entry["time"]), entry["last"], ADVICE[RefusalCode(code)].command]
        for code, entry in sorted(own.refusals.items())
    ]
    headings = words.headings("code", ">count", "time", "latest", "helps")
    html = table(headings, rows, label=words("refusals"))
    return section("refusals", words("refusals"), html, words("refusals_note"))


def _identity(own: Own, words: Words) -> str:
    head = (own.budget.ledger_head or words("none"))[:16]
    values: dict[str, object] = {
        words("name"): own.pinned.name,
        words("coordinator"): own.pinned.url,
        words("agent_id"): own.pinned.agent_id.hex(),
        words("dataset"): own.budget.dataset,
        words("ledger"): words("ledger_value", n=own.budget.ledger_records, head=head),
    }
    return section("identity", words("identity"), facts(values))
